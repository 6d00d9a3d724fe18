"""Messages between the server and a worker process: JSON, each preceded by its length. No pickle."""

from __future__ import annotations

import asyncio
import json
import os
import struct
from typing import Any

_LENGTH = struct.Struct(">I")

#: The largest message is a preview, a JPEG of at most 512 pixels a side in base64: under 1 MiB.
MAX_BYTES = 16 * 2**20


class FrameError(Exception):
    """What came through the pipe is no message."""


def pack(message: dict[str, Any]) -> bytes:
    """A message ready to be written.

    Raises:
        FrameError: it is too long.
    """
    body = json.dumps(message, separators=(",", ":"), allow_nan=False).encode()
    if len(body) > MAX_BYTES:
        raise FrameError(f"a message of {len(body)} bytes; at most {MAX_BYTES}")
    return _LENGTH.pack(len(body)) + body


def _length(head: bytes) -> int:
    (length,) = _LENGTH.unpack(head)
    if length > MAX_BYTES:
        raise FrameError(f"a message of {length} bytes; at most {MAX_BYTES}")
    return int(length)


def _message(body: bytes) -> dict[str, Any]:
    try:
        message = json.loads(body)
    except ValueError as error:
        raise FrameError(f"not JSON: {error}") from error
    if not isinstance(message, dict):
        raise FrameError("not an object")
    return message


async def read(stream: asyncio.StreamReader) -> dict[str, Any] | None:
    """The next message; None when the other side has gone, between messages or within one.

    Raises:
        FrameError: not a message.
    """
    try:
        return _message(await stream.readexactly(_length(await stream.readexactly(_LENGTH.size))))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


def read_blocking(descriptor: int) -> dict[str, Any] | None:
    """The same from a file descriptor."""
    head = _read_exactly(descriptor, _LENGTH.size)
    body = None if head is None else _read_exactly(descriptor, _length(head))
    return None if body is None else _message(body)


def write_blocking(descriptor: int, message: dict[str, Any]) -> None:
    """Write a whole message to a file descriptor."""
    data = memoryview(pack(message))
    while data:
        data = data[os.write(descriptor, data) :]


def _read_exactly(descriptor: int, count: int) -> bytes | None:
    parts = []
    while count:
        part = os.read(descriptor, count)
        if not part:
            return None
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
