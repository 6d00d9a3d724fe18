"""The file formats that can be written, as facts: nothing heavy is imported."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from restore.errors import ParameterError


@dataclass(frozen=True)
class Format:
    """What a file format can hold."""

    name: str
    suffixes: tuple[str, ...]
    media_type: str
    lossy: bool = False
    bits: tuple[int, ...] = (8,)
    floats: bool = False
    alpha: bool = True
    grey: bool = True
    cmyk: bool = False
    icc: bool = True
    metadata: bool = True
    max_side: int = 2**31 - 1


FORMATS = {
    f.name: f
    for f in (
        Format("png", (".png",), "image/png", bits=(8, 16)),
        Format("jpeg", (".jpg", ".jpeg", ".jpe", ".jfif"), "image/jpeg", True, alpha=False, cmyk=True, max_side=65535),
        Format("webp", (".webp",), "image/webp", grey=False, max_side=16383),
        Format("tiff", (".tif", ".tiff"), "image/tiff", bits=(8, 16), floats=True, cmyk=True),
        Format("avif", (".avif",), "image/avif", True, bits=(8, 12), grey=False, max_side=16384),
        Format("ppm", (".ppm", ".pgm", ".pnm"), "image/x-portable-anymap", bits=(8, 16), alpha=False, icc=False,
               metadata=False),
        Format("bmp", (".bmp",), "image/bmp", alpha=False, icc=False, metadata=False),
    )
}  # fmt: skip

SUFFIXES = {suffix: kind.name for kind in FORMATS.values() for suffix in kind.suffixes}


def format_of(path: str | os.PathLike[str]) -> str:
    """The format a file name asks for.

    Raises:
        ParameterError: an unknown suffix, or none; the message lists the known ones.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        what = f"the suffix {suffix!r}" if suffix else "no suffix"
        raise ParameterError(f"{path}: {what} says no format to write; known are {' '.join(SUFFIXES)}")
    return SUFFIXES[suffix]
