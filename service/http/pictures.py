"""From what a request gives to pictures that are known to decode: bytes in a body, base64, URLs, uploads, kernels."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass

from anyio import to_thread

from restore.errors import ParameterError
from service.blobs import BlobStore
from service.http.bodies import Body, Shape
from service.http.validation import parse_fields, parse_json
from service.intake.protocol import Examined, Intake
from service.jobs.store import JobStore
from service.problems import Code, Problem
from service.schemas.parameters import EXTRA_ROLE, AnyParameters
from service.schemas.requests import AnyRequest, DeblurRequest, InpaintRequest
from service.schemas.sources import KERNEL_FORM, MAX_KERNEL, Inline, Remote, Source
from service.settings import Settings


@dataclass(frozen=True)
class Submitted:
    """A request's parameters and what its picture is.

    Attributes:
        parameters: checked.
        image: as the intake found it.
    """

    parameters: AnyParameters | AnyRequest
    image: Examined


class Reader:
    """Reads request bodies.

    Args:
        settings: limits.
        intake: examines pictures and fetches URLs.
        store: knows uploads.
        blobs: holds them.
    """

    def __init__(self, settings: Settings, intake: Intake, store: JobStore, blobs: BlobStore) -> None:
        self._settings, self._intake, self._store, self._blobs = settings, intake, store, blobs

    async def read(
        self, body: Body, task: str | None, owner: str
    ) -> tuple[AnyParameters | AnyRequest, dict[str, bytes]]:
        """Check a body's parameters and get its pictures.

        Returns:
            The parameters, and role -> bytes: encoded pictures, not looked at yet, and a kernel as JSON rows.

        Raises:
            Problem: any of the 400s.
        """
        if body.shape is Shape.JSON:
            request = await to_thread.run_sync(lambda: parse_json(body.read("json"), task))
            parameters: AnyParameters | AnyRequest = request
            inputs = {"image": await self.source("image", request.image, owner)}
            if isinstance(request, InpaintRequest):
                inputs["mask"] = await self.source("mask", request.mask, owner)
            if isinstance(request, DeblurRequest):
                inputs["kernel"] = await to_thread.run_sync(kernel_rows, request.kernel)
        else:
            kernel = body.fields.pop("kernel", None)
            parameters = parse_fields(body.fields, task)
            roles = _check_roles(body, parameters.task, kernel)
            inputs = {role: await to_thread.run_sync(body.read, role) for role in roles if role in body.files}
            if "kernel" in roles:
                text = inputs["kernel"].decode("utf-8", "replace") if "kernel" in inputs else str(kernel)
                inputs["kernel"] = await to_thread.run_sync(kernel_from_text, text)
        return parameters, inputs

    async def examine(self, inputs: Mapping[str, bytes]) -> Examined:
        """What the picture is, if it can be decoded, and a mask that fits it.

        Raises:
            Problem: see `Intake.examine`; INVALID_PARAMETER, the mask has another size.
        """
        image = await self._intake.examine(inputs["image"], "image")
        if "mask" in inputs:
            mask = await self._intake.examine(inputs["mask"], "mask")
            if (mask.width, mask.height) != (image.width, image.height):
                raise _wrong(
                    "mask",
                    f"it is {mask.width}x{mask.height} pixels, the picture {image.width}x{image.height}; "
                    "give a mask of the same size",
                )
        return image

    async def source(self, role: str, source: Source, owner: str) -> bytes:
        """The bytes that a JSON body points to.

        Args:
            role: "image" or "mask", for messages.
            source: where they are.
            owner: of uploads.

        Raises:
            Problem: INVALID_PARAMETER, TOO_LARGE, UNKNOWN_UPLOAD, URL_REFUSED, URL_UNREACHABLE.
        """
        if isinstance(source, Inline):
            data = await to_thread.run_sync(_decoded, role, source.b64)
        elif isinstance(source, Remote):
            if not self._settings.url_sources or self._settings.offline:
                raise Problem(Code.URL_REFUSED, "this server fetches no URLs; send the picture itself")
            data = await self._intake.fetch(source.url)
        else:
            upload = await to_thread.run_sync(self._store.upload, source.upload_id, owner)
            try:
                data = b"" if upload is None else await to_thread.run_sync(self._blobs.get, upload.reference)
            except FileNotFoundError:
                data = b""
            if not data:
                raise Problem(Code.UNKNOWN_UPLOAD, f"{role}: no upload {source.upload_id!r}, or it has expired")
        if len(data) > self._settings.max_bytes:
            raise Problem(
                Code.TOO_LARGE, f"{role}: {len(data):,} bytes; at most {self._settings.max_bytes:,} are taken"
            )
        return data


def _check_roles(body: Body, task: str, kernel: object) -> set[str]:
    """The pictures that a task takes, all of them given and nothing else."""
    wanted = {"image"} | ({EXTRA_ROLE[task]} if task in EXTRA_ROLE else set())
    given = set(body.files) | ({"kernel"} if kernel is not None else set())
    if "kernel" in body.files and kernel is not None:
        raise _wrong("kernel", "given twice")
    for role in sorted(given - wanted):
        known = role in ("mask", "kernel")
        raise _wrong(role[:80], f"{task} does not take it" if known else "there is no such field")
    for role in sorted(wanted - given):
        hint = "; it goes into a multipart or a JSON body" if body.shape is Shape.RAW and role == "mask" else ""
        raise _wrong(role, f"it is needed{hint}")
    return wanted


def _decoded(role: str, text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise _wrong(f"{role}.b64", "it is not base64 (RFC 4648, section 4)") from None


def kernel_from_text(text: str) -> bytes:
    """A form field's kernel as `kernel_rows`: a form, or JSON rows.

    Raises:
        Problem: INVALID_PARAMETER.
    """
    text = text.strip()
    if KERNEL_FORM.match(text):
        return kernel_rows(text)
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError):
        rows = None
    if not isinstance(rows, list):
        raise _wrong("kernel", "write gaussian:SIGMA, defocus:RADIUS, motion:LENGTH:ANGLE, or JSON rows of numbers")
    return kernel_rows(rows)


def kernel_rows(kernel: object) -> bytes:
    """A point spread function as JSON rows; needs torch, which is loaded at the first call.

    Raises:
        Problem: INVALID_PARAMETER.
    """
    from restore.degradations.kernels import as_kernel

    try:
        found = as_kernel(kernel)
        if max(found.shape) > MAX_KERNEL:
            raise ParameterError(f"{found.shape[1]}x{found.shape[0]} pixels; at most {MAX_KERNEL} a side are taken")
    except ParameterError as error:
        raise _wrong("kernel", str(error)) from None
    return json.dumps(found.tolist()).encode()


def _wrong(field: str, message: str) -> Problem:
    return Problem(Code.INVALID_PARAMETER, f"{field}: {message}", errors=[{"field": field, "message": message}])
