"""Pixels and metadata as they lie in a file, before orientation and colour are dealt with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Samples = NDArray[Any]
Space = Literal["grey", "rgb", "cmyk"]

CHANNELS: dict[Space, int] = {"grey": 1, "rgb": 3, "cmyk": 4}


@dataclass(frozen=True, eq=False)
class Raster:
    """One decoded picture.

    Attributes:
        samples: [H, W, C] uint8, uint16 or float32 in [0, 1]; C is 1, 3 or 4 (`space`).
        space: what the channels are.
        alpha: [H, W] in the same type, or None.
        orientation: EXIF orientation 1 to 8, not applied yet.
        icc, exif, xmp, iptc: embedded blocks; `exif` is the TIFF structure without the "Exif" prefix.
        dpi: (horizontal, vertical) dots an inch, None when the file does not say.
        frames: pictures in the file, of which this is the first.
    """

    samples: Samples
    space: Space
    alpha: Samples | None = None
    orientation: int = 1
    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    dpi: tuple[float, float] | None = None
    frames: int = 1


def upright(plane: Samples, orientation: int) -> Samples:
    """Apply an EXIF orientation (EXIF 2.32, tag 0x0112) to [H, W, ...]; values beyond 1 to 8 mean 1."""
    if orientation in (5, 6, 7, 8):
        plane = plane.swapaxes(0, 1)
    # After the transposition, which axes still have to be reversed: (rows, columns).
    rows = orientation in (3, 4, 7, 8)
    columns = orientation in (2, 3, 6, 7)
    if rows:
        plane = plane[::-1]
    if columns:
        plane = plane[:, ::-1]
    return np.ascontiguousarray(plane)
