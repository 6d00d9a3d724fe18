"""The three request bodies, received within limits: JSON, multipart, or the raw picture with a query.

What is received lies in temporary files beyond a mebibyte, so that many slow or waiting requests cost no memory.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from enum import StrEnum
from tempfile import SpooledTemporaryFile
from typing import IO, Any

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from service.problems import Code, Problem

#: Bytes of a request that stay in memory, of form fields in all, and what a body may hold besides its pictures.
SPOOL, FIELD, ROOM = 2**20, 2**20, 2**20
#: Parts of a multipart body: pictures, and fields.
FILES, FIELDS = 3, 32
#: A refused body is read on for so many times the limit: a client that is still sending would not see the answer.
DISCARD = 4


class Shape(StrEnum):
    """Which of the three bodies."""

    JSON = "json"
    FORM = "form"
    RAW = "raw"


@dataclass
class Body:
    """A received body.

    Attributes:
        shape: which of the three.
        fields: of a form or a query, as text, or from the JSON part `params`.
        files: what came as bytes: "image", "mask", "kernel", or "json" for a JSON body. Closed by `close`.
    """

    shape: Shape
    fields: dict[str, Any] = field(default_factory=dict)
    files: dict[str, IO[bytes]] = field(default_factory=dict)

    def read(self, name: str) -> bytes:
        """All bytes of a file; blocks."""
        file = self.files[name]
        file.seek(0)
        return file.read()

    def close(self) -> None:
        """Remove the temporary files."""
        for file in self.files.values():
            file.close()


def shape_of(request: Request) -> Shape:
    """Which body comes, by its Content-Type; whatever is neither JSON nor multipart is taken for a picture, and its
    first bytes decide."""
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media == "application/json" or media.endswith("+json"):
        return Shape.JSON
    return Shape.FORM if media == "multipart/form-data" else Shape.RAW


async def receive(request: Request, max_bytes: int) -> Body:
    """Receive a body.

    Args:
        request: its stream is consumed.
        max_bytes: of one picture.

    Raises:
        Problem: TOO_LARGE, MALFORMED_REQUEST, INVALID_PARAMETER (a field twice, a query beside a body that has fields),
            UNSUPPORTED_MEDIA_TYPE (a Content-Encoding).
    """
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise Problem(
            Code.UNSUPPORTED_MEDIA_TYPE, f"Content-Encoding {encoding[:40]!r} is not taken; send the body as it is"
        )
    shape = shape_of(request)
    if shape is Shape.RAW:
        query = _once(request.query_params.multi_items())
        return Body(shape, query, {"image": await _spooled(request, max_bytes, max_bytes)})
    if request.url.query:
        raise Problem(
            Code.INVALID_PARAMETER,
            "query parameters go with a raw picture; put them into the body",
            errors=[{"field": name, "message": "is in the query"} for name in dict(request.query_params)],
        )
    if shape is Shape.JSON:
        # base64 makes four characters of three bytes; there may be a mask of the picture's size.
        return Body(shape, {}, {"json": await _spooled(request, 2 * (max_bytes * 4 // 3) + ROOM, max_bytes)})
    return await _form(request, max_bytes)


async def _form(request: Request, max_bytes: int) -> Body:
    stream = _limited(request, 2 * max_bytes + ROOM, max_bytes)
    parser = MultiPartParser(request.headers, stream, max_files=FILES, max_fields=FIELDS, max_part_size=FIELD)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise Problem(Code.MALFORMED_REQUEST, f"the multipart body cannot be read: {error.message}") from None
    files: dict[str, IO[bytes]] = {}
    texts: list[tuple[str, Any]] = []
    body = Body(Shape.FORM, {}, files)
    try:
        for name, value in form.multi_items():
            if not isinstance(value, UploadFile):
                texts.append((name, value))
            elif name == "params":
                texts.append((name, (await value.read(FIELD)).decode("utf-8", "replace")))
                await value.close()
            elif name in files:
                await value.close()
                raise _twice(name)
            else:
                files[name] = value.file
                if (value.size or 0) > max_bytes:
                    raise _too_large(max_bytes)
        body.fields.update(_once(texts))
        if "params" in body.fields:
            body.fields |= _params(body.fields.pop("params"), body.fields)
    except Problem:
        body.close()
        raise
    return body


def _params(text: str, fields: dict[str, Any]) -> dict[str, Any]:
    """The JSON part `params`; what stands there stands nowhere else."""
    try:
        given = json.loads(text)
    except ValueError:
        given = None
    if not isinstance(given, dict):
        error = {"field": "params", "message": "a JSON object of parameters"}
        raise Problem(Code.INVALID_PARAMETER, "params: a JSON object of parameters is needed", errors=[error])
    for name in given.keys() & fields.keys():
        raise _twice(name)
    return given


def _once(items: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in items:
        if name in found:
            raise _twice(name)
        found[name] = value
    return found


def _twice(name: str) -> Problem:
    return Problem(
        Code.INVALID_PARAMETER, f"{name[:80]!r} is given twice", errors=[{"field": name[:80], "message": "given twice"}]
    )


def _too_large(max_bytes: int) -> Problem:
    return Problem(Code.TOO_LARGE, f"a picture may have {max_bytes:,} bytes; this one has more")


async def _spooled(request: Request, limit: int, max_bytes: int) -> IO[bytes]:
    file = SpooledTemporaryFile(max_size=SPOOL)  # noqa: SIM115  the body's to close
    try:
        async for chunk in _limited(request, limit, max_bytes):
            file.write(chunk)
    except BaseException:
        file.close()
        raise
    return file


async def _limited(request: Request, limit: int, max_bytes: int) -> AsyncGenerator[bytes, None]:
    """The body's chunks, up to a limit that is checked on Content-Length and while they come."""
    declared = request.headers.get("content-length", "")
    refused = declared.isdigit() and int(declared) > limit
    waits = "100-continue" in request.headers.get("expect", "").lower()
    if refused and waits:
        # Such a client sends nothing before it is told to.
        raise _too_large(max_bytes)
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > limit:
            refused = True
        if refused and received > DISCARD * limit:
            break
        if not refused:
            yield chunk
    if refused:
        raise _too_large(max_bytes)
