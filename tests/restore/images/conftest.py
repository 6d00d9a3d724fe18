"""Small pictures, colour profiles and metadata made on the spot."""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

_BRADFORD = np.array(
    [[1.0478112, 0.0228866, -0.0501270], [0.0295424, 0.9904844, -0.0170491], [-0.0092345, 0.0150436, 0.7521316]]
)


def _fixed(*values: float) -> bytes:
    return b"".join(struct.pack(">i", round(v * 65536)) for v in values)


def _curve(gamma: float | str) -> bytes:
    if gamma == "srgb":
        return b"para" + bytes(4) + struct.pack(">HH", 3, 0) + _fixed(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    return b"para" + bytes(4) + struct.pack(">HH", 0, 0) + _fixed(float(gamma))


def _text(words: str) -> bytes:
    data = words.encode("utf-16be")
    return b"mluc" + bytes(4) + struct.pack(">IIHHII", 1, 12, 0x656E, 0x5553, len(data), 28) + data


def _profile(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    tags = {b"desc": _text("made for a test"), b"cprt": _text("CC0"), b"wtpt": _xyz(0.9642, 1.0, 0.8249), **tags}
    table, body = b"", b""
    offset = 132 + 12 * len(tags)
    for name, tag in tags.items():
        tag += bytes(-len(tag) % 4)
        table += struct.pack(">4sII", name, offset, len(tag))
        offset += len(tag)
        body += tag
    header = struct.pack(">I4sI4s4s4s", offset, b"test", 0x04300000, b"mntr", space, b"XYZ ") + bytes(12) + b"acsp"
    header = header.ljust(68, b"\0") + _fixed(0.9642, 1.0, 0.8249)
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def _xyz(*values: float) -> bytes:
    return b"XYZ " + bytes(4) + _fixed(*values)


def primaries(red: tuple[float, float], green: tuple[float, float], blue: tuple[float, float]) -> np.ndarray:
    """Linear RGB to XYZ relative to D50, for D65 primaries (the textbook construction)."""
    columns = np.array([[x / y, 1.0, (1 - x - y) / y] for x, y in (red, green, blue)]).T
    white = np.array([0.3127 / 0.3290, 1.0, (1 - 0.3127 - 0.3290) / 0.3290])
    return _BRADFORD @ (columns * np.linalg.solve(columns, white))


MATRICES = {
    "srgb": primaries((0.64, 0.33), (0.30, 0.60), (0.15, 0.06)),
    "p3": primaries((0.68, 0.32), (0.265, 0.69), (0.15, 0.06)),
    "adobe": primaries((0.64, 0.33), (0.21, 0.71), (0.15, 0.06)),
}
GAMMAS: dict[str, float | str] = {"srgb": "srgb", "p3": "srgb", "adobe": 2.19921875}


def _rgb_profile(name: str) -> bytes:
    curve, matrix = _curve(GAMMAS[name]), MATRICES[name]
    tags = {f"{c}TRC".encode(): curve for c in "rgb"}
    tags |= {f"{c}XYZ".encode(): _xyz(*matrix[:, i]) for i, c in enumerate("rgb")}
    return _profile(b"RGB ", tags)


@pytest.fixture(scope="session")
def profiles() -> dict[str, bytes | None]:
    """ICC profiles by name: none, srgb, p3, adobe, grey."""
    made: dict[str, bytes | None] = {name: _rgb_profile(name) for name in MATRICES}
    return {"none": None, "grey": _profile(b"GRAY", {b"kTRC": _curve(1.8)}), **made}


@pytest.fixture(scope="session")
def matrices() -> dict[str, np.ndarray]:
    return MATRICES


@pytest.fixture(scope="session")
def photo() -> Callable[..., np.ndarray]:
    """photo(channels, dtype, height, width): every kind of value, extremes included."""

    def make(channels: int = 3, dtype: type = np.uint8, height: int = 23, width: int = 37, seed: int = 0) -> np.ndarray:
        rng = np.random.default_rng(seed)
        if dtype == np.float32:
            return rng.random((height, width, channels), dtype=np.float32)
        top = np.iinfo(dtype).max
        values = rng.integers(0, top, (height, width, channels), endpoint=True).astype(dtype)
        values[:3] = rng.choice([0, 1, top - 1, top], (3, width, channels)).astype(dtype)
        values[3:6] //= 40
        return values

    return make


@pytest.fixture(scope="session")
def exif() -> bytes:
    """An EXIF block with orientation 6, GPS, a private tag and a maker note."""
    block = Image.Exif()
    block[0x0112] = 6
    block[0x010F] = "ACME"
    block[0x0110] = "Model 1"
    block[0x8298] = "Somebody"
    inner = block.get_ifd(0x8769)
    inner[0x829A] = IFDRational(1, 320)
    inner[0x927C] = b"MAKERNOTE\x01\x02\x03" * 9
    inner[0xA002], inner[0xA003] = 37, 23
    inner[0xFDE8] = "private"
    place = block.get_ifd(0x8825)
    place[1], place[2] = "N", (IFDRational(52), IFDRational(30), IFDRational(1234567, 100000))
    return block.tobytes().removeprefix(b"Exif\0\0")
