"""Read the ICC profiles that photographs carry: three primaries (or grey) and a tone curve.

Format: ICC.1:2022, sections 7 (header, tag table), 10.6 (curveType), 10.18 (parametricCurveType), F.3 (the
three-component matrix model). Profiles built on look-up tables are left to Little CMS (see `colour`).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NODES = 65_536
"""Curves are tabulated at every 16-bit code, so that no sample of a file falls between two entries."""

_CHANNELS = {b"GRAY": 1, b"RGB ": 3, b"CMYK": 4}
_LOOK_UP_TABLES = (b"A2B0", b"A2B1", b"A2B2", b"B2A0", b"B2A1", b"D2B0", b"D2B1")


@dataclass(frozen=True)
class Shaper:
    """A matrix-and-curves profile.

    Attributes:
        curves: [C, NODES] float64, linear light for each device value k / (NODES - 1), never falling.
        matrix: [3, 3], linear device RGB to XYZ relative to D50; None for grey, whose curve gives Y.
    """

    curves: NDArray[np.float64]
    matrix: NDArray[np.float64] | None


def channels(profile: bytes) -> int:
    """Device channels of a profile: 1 (grey), 3 (RGB), 4 (CMYK), 0 for anything else or a broken header."""
    if len(profile) < 132 or profile[36:40] != b"acsp":
        return 0
    return _CHANNELS.get(profile[16:20], 0)


def shaper(profile: bytes) -> Shaper | None:
    """The matrix-and-curves model of a profile; None when it has none, or has look-up tables beside it."""
    try:
        tags = _tags(profile)
        if any(tag in tags for tag in _LOOK_UP_TABLES) or profile[20:24] != b"XYZ ":
            return None
        if channels(profile) == 1:
            curves = np.stack([_curve(tags[b"kTRC"])])
            matrix = None
        elif channels(profile) == 3:
            curves = np.stack([_curve(tags[tag]) for tag in (b"rTRC", b"gTRC", b"bTRC")])
            matrix = np.stack([_xyz(tags[tag]) for tag in (b"rXYZ", b"gXYZ", b"bXYZ")], axis=1)
            if abs(np.linalg.det(matrix)) < 1e-6:
                return None
        else:
            return None
    except (KeyError, ValueError, struct.error):
        return None
    rising = bool((np.diff(curves, axis=1) >= 0).all() and (curves[:, -1] - curves[:, 0] > 0.5).all())
    return Shaper(curves, matrix) if rising and np.isfinite(curves).all() else None


def _tags(profile: bytes) -> dict[bytes, bytes]:
    (count,) = struct.unpack_from(">I", profile, 128)
    if count > 200:
        raise ValueError("too many tags")
    found = {}
    for i in range(count):
        signature, offset, size = struct.unpack_from(">4sII", profile, 132 + 12 * i)
        if offset + size > len(profile):
            raise ValueError("a tag lies outside the profile")
        found[signature] = profile[offset : offset + size]
    return found


def _xyz(tag: bytes) -> NDArray[np.float64]:
    if tag[:4] != b"XYZ ":
        raise ValueError("not an XYZ tag")
    return np.array(struct.unpack_from(">3i", tag, 8)) / 65536.0


def _curve(tag: bytes) -> NDArray[np.float64]:
    x = np.linspace(0.0, 1.0, NODES)
    if tag[:4] == b"curv":
        (count,) = struct.unpack_from(">I", tag, 8)
        if count == 0:
            return x
        if count == 1:
            (gamma,) = struct.unpack_from(">H", tag, 12)
            x **= gamma / 256.0
            return x
        table = np.frombuffer(tag, ">u2", count, 12) / 65535.0
        return np.interp(x, np.linspace(0.0, 1.0, count), table)
    if tag[:4] != b"para":
        raise ValueError("not a curve")
    (kind,) = struct.unpack_from(">H", tag, 8)
    if kind > 4:
        raise ValueError("an unknown parametric curve")
    numbers = np.array(struct.unpack_from(f">{(1, 3, 4, 5, 7)[kind]}i", tag, 12)) / 65536.0
    g, a, b, c, d, e, f = np.concatenate([numbers, np.zeros(7 - len(numbers))])
    if kind == 0:
        a, b = 1.0, 0.0
    if kind in (1, 2):
        # (a x + b)^g + c to the right of -b/a, c to its left; written as kind 4 with a flat foot.
        c, d, e, f = 0.0, -b / a if a else np.inf, c, c
    power = np.maximum(a * x + b, 0.0) ** g + e
    curve: NDArray[np.float64] = np.clip(np.where(x >= d, power, c * x + f), 0.0, 1.0)
    return curve
