"""The quantisation tables and chroma subsampling of a JPEG file.

Read from the markers (ITU-T T.81, annex B) and not from a decoder, because decoders give the tables by table number;
what JPEG consistency needs is which table belongs to which component.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

_FRAMES = {0xC0, 0xC1, 0xC2}  # baseline, extended, progressive: Huffman-coded DCT frames
_STANDALONE = {0x01, *range(0xD0, 0xD9)}


def _zigzag() -> tuple[int, ...]:
    """Row-major position of each coefficient in the order of T.81, figure A.6."""
    order = sorted(((r, c) for r in range(8) for c in range(8)), key=lambda p: (p[0] + p[1], _along(*p)))
    return tuple(8 * r + c for r, c in order)


def _along(row: int, column: int) -> int:
    return row if (row + column) % 2 else column


ZIGZAG = _zigzag()


@dataclass(frozen=True)
class JpegFacts:
    """How a JPEG file was quantised.

    Attributes:
        tables: {0: luma} or {0: luma, 1: chroma}, 64 numbers each, row by row.
        subsampling: of the chroma, (vertical, horizontal).
        ycbcr: whether the components are luma and chroma (or luma alone), and not RGB, CMYK or YCCK.
    """

    tables: dict[int, tuple[int, ...]]
    subsampling: tuple[int, int]
    ycbcr: bool


def jpeg_facts(data: bytes) -> JpegFacts | None:
    """Read the markers up to the first scan; None when they cannot be made sense of."""
    try:
        return _read(data)
    except (struct.error, IndexError, KeyError, ZeroDivisionError):
        return None


def jpeg_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) that the frame header claims; None without one."""
    try:
        for marker, body in _segments(data):
            if marker in _FRAMES:
                height, width = struct.unpack_from(">HH", body, 1)
                return width, height
    except (struct.error, IndexError):
        return None
    return None


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(marker, body) of each segment before the first scan."""
    at = 2
    while at < len(data) - 3 and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
        elif marker in _STANDALONE:
            at += 2
        elif marker == 0xDA:
            return
        else:
            (length,) = struct.unpack_from(">H", data, at + 2)
            yield marker, data[at + 4 : at + 2 + length]
            at += 2 + length


def _read(data: bytes) -> JpegFacts | None:
    tables: dict[int, tuple[int, ...]] = {}
    components: list[tuple[int, int, int, int]] = []  # id, horizontal, vertical, table
    adobe: int | None = None
    for marker, body in _segments(data):
        if marker == 0xDB:
            tables.update(_tables(body))
        elif marker in _FRAMES:
            components = [
                (body[i], body[i + 1] >> 4, body[i + 1] & 15, body[i + 2]) for i in range(6, 6 + 3 * body[5], 3)
            ]
        elif marker == 0xEE and body.startswith(b"Adobe"):
            adobe = body[11]
    if not components:
        return None
    first = components[0]
    found = {0: tables[first[3]]}
    if len(components) < 3:
        return JpegFacts(found, (1, 1), ycbcr=len(components) == 1)
    chroma = components[1]
    found[1] = tables[chroma[3]]
    widest = max(c[1] for c in components)
    tallest = max(c[2] for c in components)
    rgb = adobe == 0 or (adobe is None and bytes(c[0] for c in components) == b"RGB")
    same_chroma = chroma[1:] == components[2][1:]
    return JpegFacts(
        found, (tallest // chroma[2], widest // chroma[1]), ycbcr=len(components) == 3 and not rgb and same_chroma
    )


def _tables(body: bytes) -> dict[int, tuple[int, ...]]:
    """The tables of one DQT segment, row by row."""
    found: dict[int, tuple[int, ...]] = {}
    at = 0
    while at < len(body):
        wide, number = body[at] >> 4, body[at] & 15
        values = struct.unpack_from(">64H" if wide else ">64B", body, at + 1)
        at += 129 if wide else 65
        natural = [0] * 64
        for place, value in zip(ZIGZAG, values, strict=True):
            natural[place] = value
        found[number] = tuple(natural)
    return found
