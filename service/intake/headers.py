"""What a file's structure says before any decoder sees it: frames, and parts whose only purpose can be to tire us.

Walks chunks, segments, directories and boxes, each list with a bound. Formats: PNG third edition, 5.3, 11.3.3.3 and
11.3.4; ITU-T T.81, B.1; the WebP container specification; TIFF 6.0, section 2; ISO/IEC 14496-12, 4.2.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from service.problems import Code, Problem

_MOST_PARTS = 65_536
"""Chunks, segments or boxes: a 32 MiB PNG in the usual 8 KiB pieces has 4,096; walking this many takes 0.1 s."""
_MOST_INFLATED = 16 * 2**20
"""Bytes that the compressed blocks beside the pixels may hold together; the longest block the core keeps is as long."""
_MOST_DIRECTORIES = 64
_REDUCED, _MASK = 1, 4  # NewSubfileType


def check(data: bytes, kind: str, name: str) -> None:
    """Refuse animations, several pages, loops, and blocks that inflate without measure.

    Args:
        data: the file.
        kind: as `restore.images.sniff` calls it.
        name: of the picture, for the message.

    Raises:
        Problem: TOO_MANY_FRAMES, UNDECODABLE_IMAGE.
    """
    try:
        frames = {"png": _png, "jpeg": _jpeg, "webp": _webp, "tiff": _tiff, "avif": _boxes, "heic": _boxes}[kind](data)
    except _Tiring as error:
        raise Problem(Code.UNDECODABLE_IMAGE, f"{name}: {error}") from None
    except struct.error:
        raise Problem(Code.UNDECODABLE_IMAGE, f"{name}: the {kind.upper()} data is damaged or incomplete") from None
    if frames > 1:
        raise too_many_frames(name)


def too_many_frames(name: str) -> Problem:
    """The answer to animations and documents."""
    return Problem(Code.TOO_MANY_FRAMES, f"{name}: holds several frames or pages; send one picture at a time")


class _Tiring(Exception):
    """A structure that no camera and no editor makes."""


def _png(data: bytes) -> int:
    inflated = 0
    at = 8
    for _ in range(_MOST_PARTS):
        if at + 12 > len(data):
            return 1
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"IEND":
            return 1
        if kind == b"acTL" and length >= 4 and struct.unpack_from(">I", data, at + 8)[0] > 1:
            return 2
        if kind in (b"iCCP", b"zTXt", b"iTXt"):
            inflated += _inflated(data[at + 8 : at + 8 + length], kind, _MOST_INFLATED - inflated)
        at += 12 + length
    raise _Tiring(f"the PNG data has more than {_MOST_PARTS:,} chunks")


def _inflated(body: bytes, kind: bytes, most: int) -> int:
    """Length of a chunk's inflated text or profile, counted without keeping it."""
    packed = body.partition(b"\0")[2]
    if kind == b"iTXt":
        if packed[:1] != b"\1":
            return 0
        packed = packed[2:].partition(b"\0")[2].partition(b"\0")[2]
    else:
        packed = packed[1:]
    inflater = zlib.decompressobj()
    total = 0
    try:
        while packed and not inflater.eof:
            total += len(inflater.decompress(packed, 2**16))
            packed = inflater.unconsumed_tail
            if total > most:
                raise _Tiring(f"its compressed blocks hold more than {_MOST_INFLATED:,} bytes")
    except zlib.error:
        pass  # the decoder will say what it thinks of it
    return total


def _jpeg(data: bytes) -> int:
    at = 2
    for _ in range(_MOST_PARTS):
        if at + 4 > len(data) or data[at] != 0xFF or data[at + 1] == 0xDA:
            return 1
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
        elif marker == 0x01 or 0xD0 <= marker <= 0xD8:
            at += 2
        else:
            (length,) = struct.unpack_from(">H", data, at + 2)
            at += 2 + int(length)
    raise _Tiring(f"the JPEG data has more than {_MOST_PARTS:,} segments before its picture")


def _webp(data: bytes) -> int:
    frames = 0
    at = 12
    for _ in range(_MOST_PARTS):
        if at + 8 > len(data):
            return max(1, frames)
        kind, length = struct.unpack_from("<4sI", data, at)
        frames += kind == b"ANMF"
        if frames > 1:
            return 2
        at += 8 + length + length % 2
    raise _Tiring(f"the WebP data has more than {_MOST_PARTS:,} chunks")


def _tiff(data: bytes) -> int:
    """Full-size pages; thumbnails and masks beside a picture do not count."""
    pages = 0
    seen: set[int] = set()
    for number, (start, kind) in enumerate(_directories(data)):
        if start in seen or number >= _MOST_DIRECTORIES:
            raise _Tiring("the TIFF data's directories loop or never end")
        seen.add(start)
        pages += number == 0 or not kind & (_REDUCED | _MASK)
        if pages > 1:
            return pages
    return 1


def _directories(data: bytes) -> Iterator[tuple[int, int]]:
    """(offset, NewSubfileType) of each directory of the main chain, classic or BigTIFF."""
    order = "<" if data[:2] == b"II" else ">"
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    count, size, pointer = ("Q", 20, "Q") if big else ("H", 12, "I")
    head = struct.calcsize(order + count)
    (start,) = struct.unpack_from(order + pointer, data, 8 if big else 4)
    while start:
        (entries,) = struct.unpack_from(order + count, data, start)
        if entries > 4096:
            raise _Tiring("the TIFF data has a directory of more than 4,096 entries")
        kind = 0
        for i in range(entries):
            entry = start + head + size * i
            tag, field = struct.unpack_from(order + "HH", data, entry)
            if tag == 254:
                value = entry + (12 if big else 8)
                (kind,) = struct.unpack_from(order + ("H" if field == 3 else "I"), data, value)
        yield start, kind
        (start,) = struct.unpack_from(order + pointer, data, start + head + size * entries)


def _boxes(data: bytes) -> int:
    """A movie box makes an image sequence of an ISO media file."""
    at = 0
    for _ in range(_MOST_PARTS):
        if at + 8 > len(data):
            return 1
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"moov":
            return 2
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, at + 8)
        if length < 8:
            return 1
        at += length
    raise _Tiring(f"the file has more than {_MOST_PARTS:,} boxes")
