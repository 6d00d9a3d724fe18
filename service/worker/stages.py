"""The two ends of a job, run in pools beside the step loop: a blob becomes a restoration, its result becomes blobs."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from restore.enlarging import Enlargement
from restore.errors import ParameterError
from restore.images import Limits, Picture, decode, encode, encode_map
from restore.session import Restoration, read_parameters
from restore.tasks.masks import as_mask
from service.blobs import BlobStore
from service.jobs.store import Outcome
from service.worker.job import WorkerJob
from service.worker.priors import EnlargingPrior, Priors

#: Longest side of a preview, and its JPEG quality: some 30 kB each.
PREVIEW_SIDE, PREVIEW_QUALITY = 512, 80

MEDIA_TYPES = {
    "png": "image/png",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "tiff": "image/tiff",
    "avif": "image/avif",
}


def prepare(job: WorkerJob, blobs: BlobStore, priors: Priors, limits: Limits) -> None:
    """Read and decode what the ticket names, load its prior, and plan the restoration."""
    ticket, prior = job.ticket, priors.get(job.ticket.prior)
    given = dict(ticket.parameters)
    if given.get("seed") is None:
        given["seed"] = secrets.randbits(32)
    if "kernel" in ticket.inputs:
        given["kernel"] = _rows(blobs.get(ticket.inputs["kernel"]))
    if "mask" in ticket.inputs:
        given["mask"] = as_mask(blobs.get(ticket.inputs["mask"]), limits)
    settings = read_parameters(given)
    picture = decode(blobs.get(ticket.inputs["image"]), limits=limits, name="image")
    if ticket.task == "super-resolve":
        limits.check_output(picture.width * settings.scale, picture.height * settings.scale, "image")
    if isinstance(prior, EnlargingPrior):
        job.enlargement = Enlargement(picture, ticket.task, settings, prior.enlarger)
        return
    job.prior, job.tiling = prior, prior.tiling
    job.restoration = Restoration(picture, ticket.task, settings, prior.info)


def complete(job: WorkerJob, mean: Tensor, blobs: BlobStore) -> dict[str, Any]:
    """Finish and encode, and store result and uncertainty map; the fields of an `Outcome`, the report among them."""
    restoration = job.enlargement or job.restoration
    assert restoration is not None
    residual = restoration.residual(mean)
    result = restoration.finish(mean, job.seconds["restore"])
    output, report = job.ticket.output, result.report
    kind = output.get("format") or result.picture.format or "png"
    if kind not in MEDIA_TYPES:
        report["warnings"].append(f"a {kind} picture is answered as png")
        kind = "png"
    data = encode(
        result.picture, result.tensor, format=kind, quality=output.get("quality"),
        keep_gps=bool(output.get("keep_gps")), warnings=report["warnings"],
    )  # fmt: skip
    report |= {"residual": round(residual, 4), "degraded": job.degraded}
    warnings = [*job.warnings, *({"code": "restoration", "message": text} for text in report["warnings"])]
    outputs = {"result": blobs.put(data, "result")}
    if result.uncertainty is not None:
        outputs["uncertainty"] = blobs.put(encode_map(result.uncertainty, "png"), "uncertainty")
    height, width = result.tensor.shape[2:]
    outcome = Outcome(
        outputs=outputs, media_type=MEDIA_TYPES[kind], width=int(width), height=int(height),
        sha256=hashlib.sha256(data).hexdigest(), effective=report, warnings=warnings,
        metrics={"nfe": float(report["nfe"])}, degraded=job.degraded,
    )  # fmt: skip
    return asdict(outcome)


def preview(picture: Tensor, step: int, steps: int) -> dict[str, Any]:
    """The present estimate as a small JPEG; data of a preview event.

    Args:
        picture: [1, 3, H, W], range [-1, 1].
        step: calls that are answered.
        steps: of all.
    """
    scale = max(1.0, max(picture.shape[2:]) / PREVIEW_SIDE)
    if scale > 1.0:
        size = [max(1, round(side / scale)) for side in picture.shape[2:]]
        picture = torch.nn.functional.interpolate(picture, size, mode="area")
    plain = Picture(image=picture, space="rgb", depth=8, samples=None)
    data = encode(plain, picture, format="jpeg", quality=PREVIEW_QUALITY)
    return {"media_type": "image/jpeg", "b64": base64.b64encode(data).decode(), "step": step, "steps": steps}


def _rows(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError as error:
        raise ParameterError("the kernel must be a JSON list of rows of numbers") from error
