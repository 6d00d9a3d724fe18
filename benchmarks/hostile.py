"""Pictures that nobody means well with: bombs, polyglots and mutations of sound files. Used by tests and benchmarks."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
from PIL import Image


def chunk(kind: bytes, body: bytes) -> bytes:
    """A PNG chunk."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _png(width: int, height: int, extra: bytes = b"") -> bytes:
    body = (
        chunk(b"IDAT", zlib.compress(bytes((3 * width + 1) * height))) if width * height < 1e6 else chunk(b"IDAT", b"")
    )
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + body + chunk(b"IEND", b"")


def _picture(kind: str, **options: object) -> bytes:
    rng = np.random.default_rng(7)
    rows, columns = np.mgrid[:48, :64]
    waves = 128 + 60 * np.sin(rows / 9 + columns / 13)[..., None] + rng.normal(0, 12, (48, 64, 3))
    out = io.BytesIO()
    Image.fromarray(waves.clip(0, 255).astype(np.uint8)).save(out, kind, **options)
    return out.getvalue()


def _gray_jpeg() -> bytes:
    out = io.BytesIO()
    Image.open(io.BytesIO(_picture("PNG"))).convert("L").save(out, "JPEG")
    return out.getvalue()


def _rgba_png() -> bytes:
    image = Image.open(io.BytesIO(_picture("PNG")))
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def _deep_png() -> bytes:
    rows = b"".join(b"\0" + np.arange(64 * 3, dtype=">u2").tobytes() for _ in range(48))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 48, 16, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@cache
def sound() -> dict[str, bytes]:
    """One small file of each kind that is taken, 64 x 48."""
    return {
        "png": _picture("PNG"),
        "png-palette": _palette(),
        "png-rgba": _rgba_png(),
        "png-16": _deep_png(),
        "jpeg": _picture("JPEG", quality=85),
        "jpeg-progressive": _picture("JPEG", quality=85, progressive=True, exif=_exif()),
        "jpeg-grey": _gray_jpeg(),
        "webp": _picture("WEBP", quality=80),
        "webp-lossless": _picture("WEBP", lossless=True),
        "tiff": _picture("TIFF"),
        "tiff-deflate": _picture("TIFF", compression="tiff_deflate"),
        "tiff-lzw": _picture("TIFF", compression="tiff_lzw"),
        "avif": _picture("AVIF", quality=80),
    }


def _palette() -> bytes:
    out = io.BytesIO()
    Image.open(io.BytesIO(_picture("PNG"))).quantize(32).save(out, "PNG")
    return out.getvalue()


def _exif() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "made for a test"
    return exif.tobytes()


def _huge_jpeg() -> bytes:
    data = bytearray(sound()["jpeg"])
    struct.pack_into(">HH", data, data.index(b"\xff\xc0") + 5, 65_535, 65_535)
    return bytes(data)


def _frames(count: int) -> bytes:
    """An animated WebP of `count` frames, each a 1 x 1 lossless picture."""
    out = io.BytesIO()
    Image.new("RGB", (1, 1)).save(out, "WEBP", lossless=True)
    pixel = out.getvalue()[12:]
    frame = struct.pack("<3s3s3s3s3sB", bytes(3), bytes(3), bytes(3), bytes(3), b"\x01\0\0", 0) + pixel
    body = b"VP8X" + struct.pack("<IB3x3s3s", 10, 2, b"\x3f\0\0", b"\x2f\0\0")
    body += b"ANIM" + struct.pack("<IIH", 6, 0, 0) + (b"ANMF" + struct.pack("<I", len(frame)) + frame) * count
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def _looping_tiff() -> bytes:
    """Two directories that name each other as the next; the second calls itself a thumbnail, and so does not count."""
    size = [(256, 4, 1, 64), (257, 4, 1, 48)]
    first, second = (_directory(entries) for entries in (size, [(254, 4, 1, 1), *size]))
    at = 8 + len(first) + 4
    return b"II*\0" + struct.pack("<I", 8) + first + struct.pack("<I", at) + second + struct.pack("<I", 8)


def _directory(entries: list[tuple[int, int, int, int]]) -> bytes:
    return struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)


def _inflating(kind: bytes, count: int, size: int) -> bytes:
    return chunk(kind, b"a\0\0" + zlib.compress(bytes(size), 1)) * count


def _crawling_jpeg() -> bytes:
    return b"\xff\xd8" + b"\xff\xfe\0\2" * 2_000_000 + sound()["jpeg"][2:]


def _crawling_png() -> bytes:
    data = sound()["png"]
    return data[:33] + chunk(b"teSt", b"") * 500_000 + data[33:]


BOMBS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "20-gigapixel PNG": ("image_size", lambda: _png(141_421, 141_421)),
    "PNG 2147483647 wide": ("image_size", lambda: _png(2**31 - 1, 10)),
    "JPEG header of 65,535 pixels": ("image_size", _huge_jpeg),
    "100,000-frame WebP": ("too_many_frames", lambda: _frames(100_000)),
    "looping TIFF": ("undecodable_image", _looping_tiff),
    "iCCP of 100 MB": ("undecodable_image", lambda: _png(64, 48, _inflating(b"iCCP", 1, 100_000_000))),
    "100 zTXt of 50 MB": ("undecodable_image", lambda: _png(64, 48, _inflating(b"zTXt", 100, 50_000_000))),
    "JPEG of 2,000,000 segments": ("undecodable_image", _crawling_jpeg),
    "PNG of 500,000 chunks": ("undecodable_image", _crawling_png),
}
"""name -> (code of the problem it has to be answered with, maker)."""

POLYGLOTS = {
    "GIF": b"GIF89a" + bytes(200),
    "PDF": b"%PDF-1.7\n" + sound()["jpeg"],
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n",
    "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
    "MVG": b"push graphic-context\nviewbox 0 0 640 480\nfill 'url(https://127.0.0.1/)'\npop graphic-context\n",
    "ZIP": b"PK\x03\x04" + bytes(60),
    "pickle": b"\x80\x04\x95\x17\0\0\0\0\0\0\0\x8c\x05posix\x94\x8c\x06system\x94\x93\x94.",
    "web page": b"<!DOCTYPE html><html><body></body></html>",
    "nothing but zeros": bytes(4096),
    "BMP": _picture("BMP"),
    "PPM": _picture("PPM"),
    "video": b"\0\0\0\x18ftypmp42" + bytes(60),
}
"""Files of formats that are not taken: 415."""


def mutations(count: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """(what was done, file): bits flipped, bytes set, cut short, spliced, grown, headers and lengths overwritten."""
    files = sound()
    kinds = list(files)
    rng = np.random.default_rng(seed)
    for number in range(count):
        kind = kinds[number % len(kinds)]
        data = bytearray(files[kind])
        how = ("flip", "set", "cut", "splice", "grow", "header", "length", "repeat")[int(rng.integers(8))]
        where = int(rng.integers(len(data)))
        if how == "flip":
            for place in rng.integers(0, len(data), rng.integers(1, 16)):
                data[place] ^= 1 << int(rng.integers(8))
        elif how == "set":
            for place in rng.integers(0, len(data), rng.integers(1, 12)):
                data[place] = int(rng.choice([0, 1, 0x7F, 0x80, 0xFF, int(rng.integers(256))]))
        elif how == "cut":
            del data[where:]
        elif how == "splice":
            other = files[kinds[int(rng.integers(len(kinds)))]]
            data[where:] = other[int(rng.integers(len(other))) :]
        elif how == "grow":
            data[where:where] = rng.bytes(int(rng.integers(1, 4096)))
        elif how == "header":
            for place in rng.integers(0, min(64, len(data)), rng.integers(1, 6)):
                data[place] = int(rng.integers(256))
        elif how == "length":
            struct.pack_into(">I", data, min(where, len(data) - 4), int(rng.choice([0, 0xFFFF, 2**31 - 1, 2**32 - 1])))
        else:
            end = min(len(data), where + int(rng.integers(1, 512)))
            data[where:end] = data[where:end] * int(rng.integers(2, 8))
        yield f"{number} {kind} {how} {where}", bytes(data)
