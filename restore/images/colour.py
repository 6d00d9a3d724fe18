"""From a file's own colour space to the core's sRGB and back.

Profiles made of a matrix and curves, and grey ones, are computed here in float32 (ICC.1:2022, F.3). Little CMS is
the library for this, but through libvips 8.18 its 16-bit transforms of random Display P3 and Adobe RGB values were up
to 0.08 (of 1) from the formula, and the way over Lab up to 0.013, at 17 times the time. Everything else (CMYK, look-up
tables) goes through Little CMS by way of `codec`.

The core's values are clipped to the sRGB gamut. What a wide-gamut file holds outside comes back when the result has the
size of the source, because only the change is converted (see `encoding`).
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from restore.images import codec, icc
from restore.images.raster import CHANNELS, Floats, Samples, Space

# IEC 61966-2-1 primaries, adapted to D50 with the Bradford matrix, as ICC profiles hold them: linear sRGB to XYZ.
SRGB_TO_XYZ = np.array(
    [
        [0.4360747, 0.3850649, 0.1430804],
        [0.2225045, 0.7168786, 0.0606169],
        [0.0139322, 0.0971045, 0.7141733],
    ]
)
_SAME_AS_SRGB = 1.0 / 255.0
_NODES = np.linspace(0.0, 1.0, icc.NODES)
# The two directions of the sRGB curve (IEC 61966-2-1) as tables, the first over the square root of light.
_SRGB_OF_ROOT = np.where(_NODES**2 <= 0.0031308, 12.92 * _NODES**2, 1.055 * _NODES ** (2 / 2.4) - 0.055).astype(
    np.float32
)
_LIGHT_OF_SRGB = np.where(_NODES <= 0.04045, _NODES / 12.92, ((_NODES + 0.055) / 1.055) ** 2.4).astype(np.float32)


class ColourSpace(Protocol):
    """One file's colour space.

    `same` tells that its values are sRGB already, so that nothing is converted.
    """

    same: bool

    def decode(self, samples: Samples) -> Floats:
        """Samples [h, w, C] in the file's depth -> sRGB [h, w, 3] in [0, 1]."""

    def encode(self, rgb: Floats) -> Floats:
        """sRGB [h, w, 3] in [0, 1] -> device values [h, w, C] in [0, 1]."""


def white(samples: Samples) -> float:
    """The sample value that stands for 1: 255, 65535, or 1 for floats."""
    return float(np.iinfo(samples.dtype).max) if samples.dtype.kind == "u" else 1.0


def unit(samples: Samples) -> Floats:
    """Samples as float32 in [0, 1]."""
    values = samples.astype(np.float32)
    top = white(samples)
    if top != 1.0:
        values /= np.float32(top)
    return values


class Srgb:
    """sRGB, or grey with the sRGB curve: what a file without a profile is taken for."""

    same = True

    def __init__(self, space: Space) -> None:
        self._grey = space == "grey"

    def decode(self, samples: Samples) -> Floats:
        values = unit(samples)
        return np.broadcast_to(values, (*values.shape[:2], 3)) if self._grey else values

    def encode(self, rgb: Floats) -> Floats:
        return grey(rgb) if self._grey else rgb


class MatrixShaper:
    """A matrix-and-curves RGB profile, or a grey one."""

    same = False

    def __init__(self, profile: icc.Shaper) -> None:
        self._curves = profile.curves.astype(np.float32)
        nodes = np.linspace(0.0, 1.0, icc.NODES)
        # Tabulated over the square root of light: there the inverse of a tone curve is nearly straight.
        self._inverses = [np.interp(nodes**2, curve, nodes).astype(np.float32) for curve in profile.curves]
        self._grey = profile.matrix is None
        if profile.matrix is not None:
            to_srgb = np.linalg.solve(SRGB_TO_XYZ, profile.matrix)
            self._to_srgb = to_srgb.T.astype(np.float32)
            self._from_srgb = np.linalg.inv(to_srgb).T.astype(np.float32)

    def decode(self, samples: Samples) -> Floats:
        light = np.empty((*samples.shape[:2], len(self._curves)), np.float32)
        for i, curve in enumerate(self._curves):
            light[..., i] = self._linear(samples[..., i], curve)
        if self._grey:
            return np.repeat(srgb_encode(light), 3, axis=2)
        return srgb_encode(np.matmul(light.reshape(-1, 3), self._to_srgb).reshape(light.shape))

    def encode(self, rgb: Floats) -> Floats:
        light = srgb_decode(grey(rgb) if self._grey else rgb)
        if not self._grey:
            light = np.matmul(light.reshape(-1, 3), self._from_srgb).reshape(light.shape)
        out = np.empty(light.shape, np.float32)
        for i, inverse in enumerate(self._inverses):
            out[..., i] = look_up(inverse, np.sqrt(np.clip(light[..., i], 0.0, 1.0)))
        return out

    def _linear(self, samples: Samples, curve: Floats) -> Floats:
        if samples.dtype == np.uint16:
            return np.take(curve, samples)
        if samples.dtype == np.uint8:
            return np.take(curve[::257], samples)
        return look_up(curve, samples.astype(np.float32))


class LittleCms:
    """Any other profile; relative colorimetric with black point compensation, 16 bits each way."""

    same = False

    def __init__(self, space: Space, profile: bytes | None) -> None:
        self._space: Space = space
        self._profile = profile

    def decode(self, samples: Samples) -> Floats:
        if samples.dtype.kind == "f":
            samples = np.rint(samples.astype(np.float32) * 65535.0).astype(np.uint16)
        rgb = unit(codec.to_srgb(samples, self._space, self._profile))
        return np.repeat(grey(rgb), 3, axis=2) if self._space == "grey" else rgb

    def encode(self, rgb: Floats) -> Floats:
        if self._space == "grey":
            rgb = np.repeat(grey(rgb), 3, axis=2)
        samples = np.rint(np.clip(rgb, 0.0, 1.0) * 65535.0).astype(np.uint16)
        return unit(codec.from_srgb(samples, self._space, self._profile))


class GreyInRgb:
    """A grey picture that carries an RGB profile: its value stands for equal red, green and blue."""

    def __init__(self, inner: ColourSpace) -> None:
        self._inner = inner
        self.same = inner.same

    def decode(self, samples: Samples) -> Floats:
        return np.repeat(grey(self._inner.decode(np.repeat(samples, 3, axis=2))), 3, axis=2)

    def encode(self, rgb: Floats) -> Floats:
        return grey(self._inner.encode(np.repeat(grey(rgb), 3, axis=2)))


def colour_space(space: Space, profile: bytes | None) -> tuple[ColourSpace, bytes | None, str | None]:
    """The colour space of a picture with an embedded profile.

    Args:
        space: what the samples are.
        profile: ICC bytes, or None: sRGB, grey with the sRGB curve, or the standard CMYK of the library.

    Returns:
        (colour space, the profile to embed again, a warning or None). A profile that is damaged or belongs to another
        number of channels is dropped with a warning, as viewers do.
    """
    if profile is None:
        return (LittleCms("cmyk", None) if space == "cmyk" else Srgb(space)), None, None
    count = icc.channels(profile)
    if count != CHANNELS[space] and not (space == "grey" and count == 3):
        plain, _, _ = colour_space(space, None)
        return plain, None, "the embedded colour profile does not belong to such a picture and was dropped"
    found = icc.shaper(profile)
    inner_space: Space = "rgb" if count == 3 else space
    made: ColourSpace = MatrixShaper(found) if found is not None else LittleCms(inner_space, profile)
    try:
        if _is_srgb(made, count):
            made = Srgb(inner_space)
    except codec.CodecError:
        plain, _, _ = colour_space(space, None)
        return plain, None, "the embedded colour profile is damaged and was dropped"
    return (GreyInRgb(made) if space == "grey" and count == 3 else made), profile, None


def grey(rgb: Floats) -> Floats:
    """[h, w, 3] -> [h, w, 1]: the mean, the orthogonal projection onto equal channels."""
    mean: Floats = np.mean(rgb, axis=2, keepdims=True, dtype=np.float32)
    return mean


def look_up(table: Floats, values: Floats) -> Floats:
    """Values in [0, 1] through a curve tabulated at even steps, linearly interpolated."""
    place = values * np.float32(len(table) - 1)
    left = np.minimum(place.astype(np.int32), len(table) - 2)
    low = np.take(table, left)
    return low + (place - left.astype(np.float32)) * (np.take(table, left + 1) - low)


def srgb_encode(light: Floats) -> Floats:
    """Linear light to sRGB values, clipped to [0, 1] (IEC 61966-2-1)."""
    return look_up(_SRGB_OF_ROOT, np.sqrt(np.clip(light, 0.0, 1.0)))


def srgb_decode(values: Floats) -> Floats:
    """sRGB values, clipped to [0, 1], to linear light (IEC 61966-2-1)."""
    return look_up(_LIGHT_OF_SRGB, np.clip(values, 0.0, 1.0))


def _is_srgb(made: ColourSpace, count: int) -> bool:
    """Whether decoding changes no value by more than one 8-bit level, measured on a grid of colours."""
    if count == 4:
        made.decode(np.zeros((1, 1, 4), np.uint16))
        return False
    steps = np.linspace(0, 65535, 18).astype(np.uint16)
    axes = np.meshgrid(*[steps] * count, indexing="ij")
    colours = np.stack(axes, axis=-1).reshape(-1, 1, count)
    made.encode(unit(colours if count == 3 else np.repeat(colours, 3, axis=2))[:1])
    return float(np.abs(made.decode(colours) - unit(colours)).max()) <= _SAME_AS_SRGB
