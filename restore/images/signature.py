"""What a file is, by its first bytes and never by its name."""

from __future__ import annotations

import struct

from restore.errors import UndecodableImageError

READABLE = ("PNG", "JPEG", "WebP", "TIFF", "AVIF", "HEIC", "BMP", "PPM")

# (offset, bytes, format). Signatures from the formats' own specifications.
_PICTURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", "png"),
    (0, b"\xff\xd8\xff", "jpeg"),
    (8, b"WEBP", "webp"),
    (0, b"II*\0", "tiff"),
    (0, b"MM\0*", "tiff"),
    (0, b"II+\0", "tiff"),
    (0, b"MM\0+", "tiff"),
    (0, b"BM", "bmp"),
    (0, b"P5", "ppm"),
    (0, b"P6", "ppm"),
)
_OTHERS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"GIF8", "a GIF animation"),
    (0, b"%PDF", "a PDF document"),
    (0, b"%!PS", "a PostScript document"),
    (0, b"8BPS", "a Photoshop document"),
    (0, b"\0\0\0\x0cjP  ", "a JPEG 2000 picture"),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000 picture"),
    (0, b"\0\0\0\x0cJXL ", "a JPEG XL picture"),
    (0, b"\xff\x0a", "a JPEG XL picture"),
    (0, b"v/1\x01", "an OpenEXR picture"),
    (0, b"#?RADIANCE", "a Radiance picture"),
    (0, b"\0\0\x01\0", "a Windows icon"),
    (0, b"PK\x03\x04", "a ZIP archive"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"FUJIFILMCCD-RAW", "a camera raw file"),
    (0, b"IIRO", "a camera raw file"),
    (0, b"IIU\0", "a camera raw file"),
    (4, b"ftypcrx", "a camera raw file"),
    (4, b"ftyp", "a video or another ISO media file"),
)
_HEIF_BRANDS = {b"avif": "avif", b"avis": "avif", b"heic": "heic", b"heix": "heic", b"hevc": "heic", b"heim": "heic"}
_NEW_SUBFILE_TYPE, _PHOTOMETRIC, _DNG_VERSION, _CFA = 254, 262, 50706, 32803


def sniff(data: bytes, name: str) -> str:
    """The format of an encoded picture: png, jpeg, webp, tiff, avif, heic, bmp or ppm.

    Args:
        data: the file, or at least its first kilobytes.
        name: of the file, for the message.

    Raises:
        UndecodableImageError: empty, or not of a format in the allow-list; the message says what was found.
    """
    if not data:
        raise UndecodableImageError(f"{name}: the file is empty")
    found = _picture(data)
    if found == "tiff" and _is_raw(data):
        raise UndecodableImageError(f"{name}: holds a camera raw file; develop it to TIFF or PNG first")
    if found is not None:
        return found
    raise UndecodableImageError(f"{name}: holds {_describe(data)}; supported are {', '.join(READABLE)}")


def _picture(data: bytes) -> str | None:
    for offset, magic, kind in _PICTURES:
        if data.startswith(magic, offset) and (kind != "webp" or data.startswith(b"RIFF")):
            if kind == "bmp" and len(data) < 26:
                continue
            if kind == "ppm" and data[2:3] not in (b"\n", b" ", b"\t", b"\r", b"#"):
                continue
            return kind
    if data[4:8] == b"ftyp":
        size = min(int.from_bytes(data[:4], "big"), 256)
        brands = [data[8:12], *(data[i : i + 4] for i in range(16, size, 4))]
        for brand in brands:
            if brand in _HEIF_BRANDS:
                return _HEIF_BRANDS[brand]
        if data[8:12] in (b"mif1", b"msf1"):
            return "heic"
    return None


def _describe(data: bytes) -> str:
    for offset, magic, words in _OTHERS:
        if data.startswith(magic, offset):
            return words
    start = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<svg", b"<?xml", b"<!doctype svg")):
        return "an SVG or XML document" if b"<svg" not in start else "an SVG drawing"
    if start.startswith((b"<!doctype html", b"<html")):
        return "a web page"
    if not any(data[:1024]):
        return "zero bytes only"
    try:
        data[:1000].decode("ascii")
    except UnicodeDecodeError:
        return f"no known picture (it starts with {data[:4].hex(' ')})"
    return "text"


def _is_raw(data: bytes) -> bool:
    """Whether a TIFF structure is a camera's raw file (DNG, CR2, NEF, ARW, ...).

    Decoders show the small preview in the first directory of such a file; to restore that unasked would be worse
    than to refuse.
    """
    if data[8:10] == b"CR":
        return True
    order = "<" if data[:2] == b"II" else ">"
    if data[2:4] not in (b"*\0", b"\0*"):
        return False
    try:
        (start,) = struct.unpack_from(order + "I", data, 4)
        (count,) = struct.unpack_from(order + "H", data, start)
        for i in range(count):
            tag, kind, _ = struct.unpack_from(order + "HHI", data, start + 2 + 12 * i)
            (value,) = struct.unpack_from(order + ("H" if kind == 3 else "I"), data, start + 10 + 12 * i)
            if tag == _DNG_VERSION or (tag == _PHOTOMETRIC and value == _CFA):
                return True
            if tag == _NEW_SUBFILE_TYPE and value & 1:
                return True
    except struct.error:
        return False
    return False
