"""A picture on its way through a restoration: what the core needs, and what has to be put back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypedDict

import torch
from torch import Tensor

from restore.images.colour import ColourSpace, Srgb
from restore.images.raster import Samples, Space

Depth = Literal[8, 16, "float"]


class SourceFields(TypedDict):
    """The keyword arguments of `restore.tasks.plan.Source`."""

    image: Tensor
    grey: bool
    quantisation: dict[int, tuple[int, ...]] | None
    subsampling: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Picture:
    """A decoded, upright picture.

    Attributes:
        image: [1, 3, H, W] float32, sRGB in [-1, 1]; a grey picture's value repeated. Do not change it in place:
            encoding compares the restored picture with it.
        space: what the file's channels are: "grey", "rgb" or "cmyk".
        depth: of the samples: 8, 16 or "float".
        samples: [H, W, C], the file's own samples, upright; None when the result shares no colour space with them.
        alpha: [H, W], as in the file, upright; None without transparency.
        icc, exif, xmp, iptc: embedded blocks as they came (`exif` without the "Exif" prefix).
        dpi: (horizontal, vertical) dots an inch.
        format: of the file: "png", "jpeg", "webp", "tiff", "avif", "heic", "ppm", "bmp"; None for arrays and tensors.
        quantisation: a JPEG file's tables, {0: luma, 1: chroma}, 64 numbers each row by row, turned as the picture was.
        subsampling: of a JPEG file's chroma, (vertical, horizontal).
        on_grid: whether `image` still lies on that file's grid of blocks, in its colour space.
        name: of the source, for messages.
        warnings: what the user should know about decoding.
        colours: converts between `samples` and sRGB.
    """

    image: Tensor
    space: Space
    depth: Depth
    samples: Samples | None
    alpha: Samples | None = None
    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    dpi: tuple[float, float] | None = None
    format: str | None = None
    quantisation: dict[int, tuple[int, ...]] | None = None
    subsampling: tuple[int, int] = (1, 1)
    on_grid: bool = False
    name: str = "the picture"
    warnings: tuple[str, ...] = ()
    colours: ColourSpace = Srgb("rgb")  # noqa: RUF009  immutable

    @property
    def grey(self) -> bool:
        return self.space == "grey"

    @property
    def height(self) -> int:
        return int(self.image.shape[2])

    @property
    def width(self) -> int:
        return int(self.image.shape[3])

    def source(self) -> SourceFields:
        """What a task takes: `Source(**picture.source())`.

        The JPEG tables are given only while they describe `image`: not after a conversion from another colour profile,
        nor when turning the picture has moved the grid of blocks off its upper left corner.
        """
        tables = self.quantisation if self.on_grid else None
        return SourceFields(
            image=self.image,
            grey=self.grey or colourless(self.image),
            quantisation=tables,
            subsampling=self.subsampling if tables else (1, 1),
        )

    def in_srgb(self, space: Space = "rgb") -> Picture:
        """This picture with its result to be written as plain sRGB (or sRGB grey), not in the file's own space."""
        return replace(self, space=space, samples=None, icc=None, colours=Srgb(space))

    def coloured(self) -> Picture:
        """A grey picture whose result has colour: for colourisation, which is asked to change just that."""
        return self.in_srgb() if self.grey else self


def colourless(image: Tensor) -> bool:
    """Whether the channels of [1, 3, H, W] are the same: a grey picture saved in colour is one, too."""
    red, green, blue = image[0]
    return torch.equal(red, green) and torch.equal(red, blue)
