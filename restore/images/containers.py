"""Put EXIF and XMP into PNG, JPEG and WebP files byte for byte, and read PNG's chunks safely.

The codec's own way to write EXIF parses it and writes it anew, which loses private tags and moves maker notes.
Formats: PNG third edition, 5.3 and 11.3.4; EXIF 2.32, 4.7.2 (JPEG marker segments); Adobe XMP part 3, 1.1.3;
WebP container specification (extended file format).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

_PNG = b"\x89PNG\r\n\x1a\n"
_XMP_KEYWORD = b"XML:com.adobe.xmp"
_XMP_SEGMENT = b"http://ns.adobe.com/xap/1.0/\0"
_MAX_TEXT = 4 * 2**20
_MAX_SEGMENT = 65_533
_VP8X_ALPHA, _VP8X_EXIF, _VP8X_XMP, _VP8X_ICC = 0x10, 0x08, 0x04, 0x20


class ContainerError(ValueError):
    """The structure of a file is broken."""


def png_essentials(data: bytes) -> tuple[bytes, bytes | None, int]:
    """A PNG file without its text chunks, so that none of them is inflated (a zTXt bomb costs nothing).

    Returns:
        (the file, the XMP packet or None, the number of frames an animation has).

    Raises:
        ContainerError: the file ends before its last chunk.
    """
    kept: list[memoryview] = []
    xmp: bytes | None = None
    frames = 1
    texts = 0
    view = memoryview(data)
    for kind, start, end in _png_chunks(data):
        if kind in (b"tEXt", b"zTXt", b"iTXt"):
            texts += 1
            keyword = data[start + 8 : start + 8 + len(_XMP_KEYWORD)]
            if kind == b"iTXt" and xmp is None and keyword == _XMP_KEYWORD:
                xmp = _international_text(data[start + 8 : end - 4])
            continue
        if kind == b"acTL" and end - start >= 16:
            frames = struct.unpack_from(">I", data, start + 8)[0]
        kept.append(view[start:end])
    return (b"".join([_PNG, *kept]) if texts else data), xmp, frames


def png_with(data: bytes, exif: bytes | None, xmp: bytes | None, texts: dict[str, str] | None = None) -> bytes:
    """A PNG file with the given metadata after its header chunk."""
    extra = []
    if exif:
        extra.append(_chunk(b"eXIf", exif))
    if xmp:
        extra.append(_chunk(b"iTXt", _XMP_KEYWORD + b"\0\0\0\0\0" + xmp))
    for keyword, text in (texts or {}).items():
        extra.append(_chunk(b"tEXt", keyword.encode("latin-1") + b"\0" + text.encode("latin-1")))
    if not extra:
        return data
    end = 8 + 25  # the signature and IHDR
    return b"".join([data[:end], *extra, data[end:]])


def jpeg_with(data: bytes, exif: bytes | None, xmp: bytes | None) -> bytes:
    """A JPEG file with APP1 segments after its JFIF segment. What does not fit a segment raises `ContainerError`."""
    extra = []
    for block in (exif and b"Exif\0\0" + exif, xmp and _XMP_SEGMENT + xmp):
        if block:
            if len(block) > _MAX_SEGMENT:
                raise ContainerError("the metadata is longer than a JPEG segment")
            extra.append(b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block)
    at = 2
    if data[2:4] == b"\xff\xe0":
        at = 4 + struct.unpack_from(">H", data, 4)[0]
    return b"".join([data[:at], *extra, data[at:]])


def jpeg_fits(exif: bytes | None, xmp: bytes | None) -> tuple[bool, bool]:
    """Whether (EXIF, XMP) can be held by a JPEG file."""
    return len(exif or b"") + 6 <= _MAX_SEGMENT, len(xmp or b"") + len(_XMP_SEGMENT) <= _MAX_SEGMENT


def webp_with(data: bytes, exif: bytes | None, xmp: bytes | None, width: int, height: int, alpha: bool) -> bytes:
    """A WebP file with EXIF and XMP chunks at its end."""
    if not exif and not xmp:
        return data
    chunks = [(k, d) for k, d in _riff_chunks(data) if k not in (b"EXIF", b"XMP ")]
    if chunks[0][0] == b"VP8X":
        header = bytearray(chunks.pop(0)[1])
    else:
        header = bytearray(10)
        header[4:7] = (width - 1).to_bytes(3, "little")
        header[7:10] = (height - 1).to_bytes(3, "little")
        header[0] = (_VP8X_ALPHA if alpha else 0) | (_VP8X_ICC if chunks[0][0] == b"ICCP" else 0)
    header[0] |= (_VP8X_EXIF if exif else 0) | (_VP8X_XMP if xmp else 0)
    chunks.insert(0, (b"VP8X", bytes(header)))
    if exif:
        chunks.append((b"EXIF", exif))
    if xmp:
        chunks.append((b"XMP ", xmp))
    body = b"".join(k + struct.pack("<I", len(d)) + d + b"\0" * (len(d) % 2) for k, d in chunks)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(type, start, end) of each chunk, IEND last."""
    at = len(_PNG)
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if end > len(data):
            break
        yield kind, at, end
        if kind == b"IEND":
            return
        at = end
    raise ContainerError("the file ends too early")


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _international_text(body: bytes) -> bytes | None:
    """The text of an iTXt chunk, if it is sound and not enormous."""
    parts = body.split(b"\0", 1)[1]
    compressed = parts[:1] == b"\1"
    pieces = parts[2:].split(b"\0", 2)
    if len(pieces) != 3:
        return None
    text = pieces[2]
    if compressed:
        inflater = zlib.decompressobj()
        try:
            text = inflater.decompress(text, _MAX_TEXT)
        except zlib.error:
            return None
        if not inflater.eof:
            return None
    return text if 0 < len(text) <= _MAX_TEXT else None


def _riff_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    found = []
    at = 12
    while at + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, at)
        found.append((kind, data[at + 8 : at + 8 + length]))
        at += 8 + length + length % 2
    return found
