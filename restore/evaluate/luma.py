"""The luma channel that super-resolution is scored on, and what every measure checks of its arguments."""

from __future__ import annotations

import torch
from torch import Tensor

from restore.errors import ImageSizeError, ImageValueError

#: ITU-R BT.601 studio range, as MATLAB's rgb2ycbcr: Y = 16 + 65.481 R + 128.553 G + 24.966 B for R, G, B in [0, 1].
WEIGHTS = (65.481, 128.553, 24.966)
BLACK = 16.0


def luma(x: Tensor) -> Tensor:
    """Luma of BT.601 in studio range, not rounded.

    Args:
        x: [N, 3, H, W] in [-1, 1].

    Returns:
        [N, 1, H, W] float64 on the 0-255 scale: 16 for black, 235 for white.

    Raises:
        ImageValueError: not three channels.
    """
    if x.ndim != 4 or x.shape[1] != 3:
        raise ImageValueError(f"luma needs pictures [N, 3, H, W], not {list(x.shape)}")
    weights = torch.tensor(WEIGHTS, dtype=torch.float64, device=x.device).view(1, 3, 1, 1)
    unit = (x.double() + 1.0) / 2.0
    return BLACK + (unit * weights).sum(dim=1, keepdim=True)


def compared(a: Tensor, b: Tensor, crop: int, smallest: int = 1) -> tuple[Tensor, Tensor]:
    """Both pictures in float64, `crop` pixels taken off every side.

    Raises:
        ImageValueError: not [N, C, H, W], or shapes that differ.
        ImageSizeError: fewer than `smallest` pixels are left on a side.
    """
    if a.ndim != 4 or a.shape != b.shape:
        raise ImageValueError(f"pictures to compare must both be [N, C, H, W]: {list(a.shape)} and {list(b.shape)}")
    height, width = a.shape[-2:]
    if crop < 0 or min(height, width) - 2 * crop < smallest:
        raise ImageSizeError(
            f"comparing needs at least {smallest}x{smallest} pixels after taking {crop} off every side of "
            f"{width}x{height}"
        )
    inside = (..., slice(crop, height - crop), slice(crop, width - crop))
    return a[inside].double(), b[inside].double()
