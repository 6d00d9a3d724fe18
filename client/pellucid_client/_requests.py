"""From the arguments of a method to the request that is sent."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from pellucid_client._effects import Blocking, Operation, Request
from pellucid_client._errors import InvalidInputError
from pellucid_client._models import Upload
from pellucid_client._parameters import SENT, RestoreOptions
from pellucid_client._policy import new_idempotency_key
from pellucid_client._sources import FilePart, ImageSource, ImageURL, kernel_part, read_image

FORMATS = ("png", "jpeg", "webp", "tiff", "avif")
#: What a task cannot do without.
NEEDED = {"deblur": "kernel", "inpaint": "mask"}
Part = FilePart | ImageURL | Upload


def restoration(
    source: ImageSource, task: str, options: RestoreOptions, headers: Mapping[str, str]
) -> Operation[Request]:
    """The request that restores a picture, complete with an idempotency key; files are read on the way.

    Args:
        source: the picture.
        task: what to do.
        options: see `RestoreOptions`.
        headers: Accept and Prefer.

    Raises:
        InvalidInputError, OSError, MissingExtraError: see `read_image`.
    """
    needed = NEEDED.get(task)
    if needed is not None and options.get(needed) is None:
        raise InvalidInputError(f"{task} needs {needed}=")
    parts: dict[str, Part] = yield Blocking(lambda: _parts(source, options))
    sent = {
        **headers,
        **options.get("extra_headers", {}),
        "Idempotency-Key": options.get("idempotency_key") or new_idempotency_key(),
    }
    parameters = _parameters(task, options)
    if all(isinstance(part, FilePart) for part in parts.values()):
        files = cast(dict[str, FilePart], parts)
        params = FilePart("", json.dumps(parameters).encode(), "application/json")
        return Request("POST", "/v1/restore", headers=sent, files={**files, "params": params})
    body = parameters | {name: _tagged(part) for name, part in parts.items()}
    sent["Content-Type"] = "application/json"
    return Request("POST", "/v1/restore", headers=sent, content=json.dumps(body).encode())


def anew(request: Request) -> Request:
    """The same restoration as another one: under a new key."""
    return replace(request, headers={**request.headers, "Idempotency-Key": new_idempotency_key()})


def _parts(source: ImageSource, options: RestoreOptions) -> dict[str, Part]:
    parts: dict[str, Part] = {"image": _part(source, "image")}
    if options.get("mask") is not None:
        parts["mask"] = _part(options["mask"], "mask")
    if options.get("kernel") is not None:
        parts["kernel"] = kernel_part(options["kernel"])
    return parts


def _part(source: ImageSource, name: str) -> Part:
    return source if isinstance(source, ImageURL | Upload) else read_image(source, name)


def _tagged(part: Part) -> Any:
    """A part in a JSON body: bytes, a URL and an upload are told apart by their key."""
    if isinstance(part, ImageURL):
        return {"url": part.url}
    if isinstance(part, Upload):
        return {"upload_id": part.upload_id}
    if part.media_type == "text/plain":
        return part.data.decode()
    if part.media_type == "application/json":
        return json.loads(part.data)
    return {"b64": base64.b64encode(part.data).decode()}


def _parameters(task: str, options: RestoreOptions) -> dict[str, Any]:
    """What is said; what is not said is the server's to decide."""
    given = cast(dict[str, Any], options)
    return {"task": task} | {name: given[name] for name in SENT if given.get(name) is not None}


def accept(format: str | None) -> str:
    """The Accept header for a result in this format, or in the given picture's.

    Raises:
        InvalidInputError: no such format.
    """
    if format is None:
        return "image/*"
    if format not in FORMATS:
        raise InvalidInputError(f"{format!r} is no format: the server writes {', '.join(FORMATS)}")
    return f"image/{format}"


def query(**values: Any) -> dict[str, Any]:
    """Query parameters without those that were not given."""
    return {name: value for name, value in values.items() if value is not None}


def check_job_id(job_id: str) -> str:
    """An id that is one path segment.

    Raises:
        InvalidInputError: it cannot be one, so nothing is asked for.
    """
    if not job_id or not all(letter.isalnum() or letter in "-_" for letter in job_id):
        raise InvalidInputError(f"{job_id!r} is no job id")
    return job_id
