"""A job as an answer: bytes, JSON, or 202."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response

from service.blobs import BlobStore
from service.http.negotiation import JSON, Prefer
from service.jobs.model import Job, JobState
from service.problems import Code, Problem, code_named
from service.schemas.job import JobResource

PRIVATE = "private, no-store"


@dataclass(frozen=True)
class Context:
    """What a request said about its answer.

    Attributes:
        prefer: see `Prefer`.
        replayed: an idempotency key found the job of an earlier request.
        inline: put the result into JSON.
    """

    prefer: Prefer = field(default_factory=Prefer)
    replayed: bool = False
    inline: bool = False


def job_headers(job: Job, context: Context | None = None) -> dict[str, str]:
    """The headers that tell how a result came about."""
    headers = {"Pellucid-Job": job.id, "Cache-Control": PRIVATE, "Vary": "Accept, Prefer"}
    timings = [
        f"{stage};dur={1000.0 * job.metrics[stage]:.1f}"
        for stage in ("queue", "decode", "restore", "encode")
        if stage in job.metrics
    ]
    if timings:
        headers["Server-Timing"] = ", ".join(timings)
    if "seed" in job.effective:
        headers["Pellucid-Seed"] = str(job.effective["seed"])
    if job.effective.get("prior"):
        digest = str(job.effective.get("digest", ""))
        headers["Pellucid-Model"] = f"{job.effective['prior']}@{digest}" if digest else str(job.effective["prior"])
    if job.degraded:
        headers["Pellucid-Degraded"] = job.degraded
    if context is not None and context.replayed:
        headers["Idempotent-Replayed"] = "true"
    return headers


def accepted(job: Job, context: Context) -> Response:
    """202: the job goes on without the client."""
    headers = job_headers(job, context)
    headers["Location"] = f"/v1/jobs/{job.id}"
    applied = context.prefer.applied()
    if applied:
        headers["Preference-Applied"] = applied
    return Response(JobResource.of(job).model_dump_json(), 202, headers, JSON)


def failure(job: Job) -> Problem:
    """Why an ended job has no result, as the answer to the request that waited for it."""
    if job.state is JobState.FAILED:
        if job.error is None:
            return Problem(Code.INTERNAL, "the job failed")
        return Problem(code_named(job.error.code) or Code.INTERNAL, job.error.message)
    if job.state is JobState.CANCELED:
        return Problem(Code.JOB_CANCELED, "the job was canceled")
    return Problem(Code.EXPIRED, "the job's files have been removed")


async def finished(job: Job, blobs: BlobStore, as_json: bool, context: Context) -> Response:
    """200 for a succeeded job.

    Raises:
        Problem: EXPIRED, its files were removed in between.
    """
    headers = job_headers(job, context)
    applied = context.prefer.applied()
    if applied and context.prefer.wait is not None:
        headers["Preference-Applied"] = f"wait={context.prefer.wait}"
    if not as_json:
        data = await load(blobs, job, "result")
        headers["Content-Disposition"] = f'inline; filename="{job.id}.{extension(job.media_type)}"'
        return Response(data, 200, headers | {"ETag": f'"{job.sha256}"'}, job.media_type)
    b64 = None
    if context.inline:
        data = await load(blobs, job, "result")
        b64 = (await to_thread.run_sync(base64.b64encode, data)).decode("ascii")
    return Response(JobResource.of(job, b64).model_dump_json(), 200, headers, JSON)


async def load(blobs: BlobStore, job: Job, role: str) -> bytes:
    """An output's bytes.

    Raises:
        Problem: EXPIRED.
    """
    try:
        return await to_thread.run_sync(blobs.get, job.outputs[role])
    except (FileNotFoundError, KeyError):
        raise Problem(Code.EXPIRED, "the job's files have been removed") from None


def extension(media_type: str) -> str:
    """Of a file of this type."""
    return {"image/jpeg": "jpg", "image/tiff": "tif"}.get(media_type, media_type.partition("/")[2] or "bin")


def not_modified(request: Request, etag: str) -> bool:
    """Whether If-None-Match names the current form (RFC 9110, section 13.1.2)."""
    given = request.headers.get("if-none-match", "")
    tags = {tag.strip().removeprefix("W/") for tag in given.split(",")}
    return "*" in tags or etag.removeprefix("W/") in tags
