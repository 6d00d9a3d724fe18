"""A restored picture brought to an exact size, as clients of other interfaces ask for it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

#: Enlargements of the restoration.
SCALES = (2, 3, 4, 8)


@dataclass(frozen=True)
class Fit:
    """How a picture becomes one of the wanted size.

    Attributes:
        scale: of the restoration, one of `SCALES`.
        width, height: what the restored picture is then reduced to, in pixels; at least as large as the wanted size.
        crop: the wanted size, cut out of the middle; None for no cutting.
    """

    scale: int
    width: int
    height: int
    crop: tuple[int, int] | None = None


def fit_factor(width: int, height: int, factor: float, scales: Sequence[int] = SCALES) -> Fit | None:
    """For an enlargement by a factor; None unless it is above 1 and at most the largest scale.

    Args:
        width: of the given picture.
        height: of the given picture.
        factor: wanted.
        scales: that the prior has, rising.
    """
    scale = next((scale for scale in scales if factor <= scale), None)
    if scale is None or factor <= 1.0:
        return None
    return Fit(scale, max(1, math.floor(width * factor)), max(1, math.floor(height * factor)))


def fit_size(
    width: int, height: int, wanted: tuple[int, int], crop: bool, scales: Sequence[int] = SCALES
) -> Fit | None:
    """For an enlargement to a size, which the picture then covers; None as `fit_factor`.

    Args:
        width: of the given picture.
        height: of the given picture.
        wanted: width and height.
        crop: whether to cut off what sticks out.
        scales: see `fit_factor`.
    """
    factor = max(wanted[0] / width, wanted[1] / height)
    found = fit_factor(width, height, factor, scales)
    if found is None:
        return None
    covered = (max(round(width * factor), wanted[0]), max(round(height * factor), wanted[1]))
    return Fit(found.scale, *covered, wanted if crop and covered != wanted else None)


def fitted(data: bytes, fit: Fit) -> bytes:
    """A restored picture as a PNG file of the wanted size; reduced with Lanczos' kernel of three lobes. Blocks.

    Depth, profile, transparency and metadata stay. A picture that has the size already is not touched.

    Args:
        data: a PNG file of this server's own making.
        fit: see `Fit`.
    """
    import pyvips

    # libvips remembers finished operations, and with them the pictures.
    pyvips.cache_set_max(0)
    image = pyvips.Image.new_from_buffer(data, "", access="sequential")
    if (image.width, image.height) == (fit.width, fit.height) and fit.crop is None:
        return data
    # Colours under transparency must not bleed into what can be seen.
    clear, kind = image.hasalpha(), image.format
    if clear:
        image = image.premultiply()
    image = image.resize(fit.width / image.width, vscale=fit.height / image.height, kernel="lanczos3")
    if clear:
        image = image.unpremultiply()
    image = image.cast(kind)
    if fit.crop is not None:
        width, height = fit.crop
        image = image.crop((image.width - width) // 2, (image.height - height) // 2, width, height)
    made: bytes = image.write_to_buffer(".png")
    return made
