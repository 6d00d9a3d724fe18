"""Binary PGM and PPM, which the codec library's wheel lacks. Format: Netpbm's pgm(5) and ppm(5)."""

from __future__ import annotations

import re

import numpy as np

from restore.images.containers import ContainerError
from restore.images.raster import Samples

_FIELD = re.compile(rb"(?:\s|#[^\n]*\n)*(\d{1,9})")


def header(data: bytes) -> tuple[int, int, int, int, int]:
    """(width, height, channels, largest value, where the samples start) of a P5 or P6 file."""
    numbers = []
    at = 2
    for _ in range(3):
        found = _FIELD.match(data, at, at + 1024)
        if found is None:
            raise ContainerError("the header is malformed")
        numbers.append(int(found[1]))
        at = found.end()
    width, height, top = numbers
    if not 1 <= top <= 65535:
        raise ContainerError(f"the largest value is {top}")
    return width, height, 1 if data[:2] == b"P5" else 3, top, at + 1


def read(data: bytes) -> Samples:
    """[H, W, C]: uint8 for a largest value up to 255, uint16 above; other values than those two are scaled."""
    width, height, channels, top, at = header(data)
    kind = np.dtype(np.uint8 if top < 256 else ">u2")
    count = width * height * channels
    if len(data) - at < count * kind.itemsize:
        raise ContainerError("the file ends too early")
    samples: Samples = np.frombuffer(data, kind, count, at).reshape(height, width, channels)
    full = 255 if top < 256 else 65535
    if samples.max(initial=0) > top:
        raise ContainerError(f"a value exceeds the largest, {top}")
    if top != full:
        samples = np.rint(samples * (full / top))
    return samples.astype(np.uint8 if full == 255 else np.uint16)


def write(samples: Samples) -> bytes:
    """[H, W, 1 or 3], uint8 or uint16."""
    height, width, bands = samples.shape
    wide = samples.dtype == np.uint16
    head = f"P{5 if bands == 1 else 6}\n{width} {height}\n{65535 if wide else 255}\n"
    return head.encode() + samples.astype(">u2" if wide else np.uint8).tobytes()
