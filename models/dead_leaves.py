"""Synthetic pictures with the statistics of photographs, for checks on machines that have none.

Dead leaves (Lee, Mumford and Huang 2001): opaque discs of random colour, their radii distributed as r^-3, one hiding
another. Edges, flat areas and detail at every scale, without a file.
"""

from __future__ import annotations

import torch
from torch import Tensor

#: Smallest and largest radius, in pixels and in sides of the picture.
SMALLEST, LARGEST = 4.0, 0.4
#: Enough that little of the background is left.
DISCS = 600


def dead_leaves(count: int, height: int, width: int, seed: int = 0) -> Tensor:
    """Pictures [count, 3, height, width] float32 in [-1, 1]; the same for the same seed.

    Args:
        count: of pictures.
        height: in pixels.
        width: in pixels.
        seed: of colours, places and radii.
    """
    generator = torch.Generator().manual_seed(seed)
    rows = torch.arange(height, dtype=torch.float32)[:, None]
    columns = torch.arange(width, dtype=torch.float32)[None, :]
    largest = max(LARGEST * max(height, width), SMALLEST + 1.0)
    pictures = torch.rand(count, 3, 1, 1, generator=generator).repeat(1, 1, height, width)
    for picture in pictures:
        draws = torch.rand(DISCS, 7, generator=generator)
        # The inverse of the distribution function of a density proportional to r^-3 between the two radii.
        share = draws[:, 0]
        radii = (SMALLEST**-2 - share * (SMALLEST**-2 - largest**-2)).rsqrt()
        for radius, (top, left), colour, slope in zip(radii, draws[:, 1:3], draws[:, 3:6], draws[:, 6], strict=True):
            down, across = rows - top * height, columns - left * width
            shade = (slope - 0.5) * 0.4 * down / radius
            value = colour[:, None, None] * 0.9 + 0.05 + shade
            torch.where(down.square() + across.square() <= radius.square(), value, picture, out=picture)
    return (pictures.clamp_(0.0, 1.0) * 2.0) - 1.0
