"""Decode a picture on trial: every pixel and block is read as `decode` will read it, and nothing is kept.

For strangers' files, in a process that may be lost. Needs neither torch nor memory for the whole picture, where the
format can be decoded from top to bottom.
"""

from __future__ import annotations

from dataclasses import dataclass

from restore.errors import UndecodableImageError
from restore.images import codec, tiff_exif
from restore.images.colour import colour_space
from restore.images.jpeg import jpeg_facts
from restore.images.limits import Limits
from restore.images.raster import CHANNELS, Samples
from restore.images.signature import sniff

_STRIP_PIXELS = 1 << 18
"""A strip of 16-bit RGBA is 2 MiB then."""
_SAMPLE = 64


@dataclass(frozen=True)
class Facts:
    """What a file holds.

    Attributes:
        format: as `sniff` calls it.
        width: in pixels, upright.
        height: likewise.
        frames: pictures in the file.
        depth: bits of a sample; 32 for floats.
        grey: whether there is no colour.
        alpha: whether there is transparency.
    """

    format: str
    width: int
    height: int
    frames: int
    depth: int
    grey: bool
    alpha: bool


def try_decoding(data: bytes, limits: Limits, name: str) -> Facts:
    """Decode every pixel and parse every block.

    Args:
        data: a PNG, JPEG, WebP, TIFF, AVIF or HEIC file.
        limits: checked on the header.
        name: of the picture, for messages.

    Raises:
        UndecodableImageError: not such a picture, damaged or cut short.
        ImageSizeError: beyond the limits.
        ImageValueError: a sample type or colour model that cannot be restored.
    """
    limits.check_bytes(len(data), name)
    kind = sniff(data, name)
    if kind in ("bmp", "ppm"):
        raise UndecodableImageError(f"{name}: {kind.upper()} pictures are not tried")
    with codec.naming_damage(kind, name):
        image, rest, _, frames = codec.open_checked(data, kind, limits, name)
        corner: Samples | None = None
        for strip in codec.strips(image, _STRIP_PIXELS):
            if strip.dtype.kind == "f":
                codec.check_floats(strip, name)
            if corner is None:
                corner = strip[:_SAMPLE, :_SAMPLE].copy()
        icc = codec.block_of(image, "icc-profile-data")
        turned = codec.field_of(image, "orientation", 1) in (5, 6, 7, 8)
    space = codec.space_of(image)
    count = CHANNELS[space]
    assert corner is not None
    # The converters of a profile are made and used once, both ways.
    colours, _, _ = colour_space(space, icc)
    colours.encode(colours.decode(corner[..., :count]))
    if kind == "tiff":
        tiff_exif.read(rest)
    if kind == "jpeg":
        jpeg_facts(rest)
    width, height = (image.height, image.width) if turned else (image.width, image.height)
    depth = {"u1": 8, "u2": 16}.get(corner.dtype.str[1:], 32)
    return Facts(kind, width, height, frames, depth, space == "grey", image.bands > count)
