"""Peak signal-to-noise ratio."""

from __future__ import annotations

import torch
from torch import Tensor

from restore.evaluate.luma import compared, luma


def quantise(x: Tensor) -> Tensor:
    """The picture as an 8-bit file would hold it.

    Args:
        x: any shape, range [-1, 1]; values beyond are clipped.

    Returns:
        float32 in [-1, 1], a whole number of 1/255 steps above -1.
    """
    return (x.float().clamp(-1.0, 1.0) * 127.5 + 127.5).round() / 127.5 - 1.0


def psnr(a: Tensor, b: Tensor, crop: int = 0) -> Tensor:
    """10 log10(peak^2 / mean squared error) over all channels.

    Args:
        a: [N, C, H, W] in [-1, 1]; neither clipped nor rounded here (see `quantise`).
        b: shaped as a.
        crop: pixels ignored at every side.

    Returns:
        [N] float64 in decibel; infinity for equal pictures.

    Raises:
        ImageValueError: shapes that differ.
        ImageSizeError: nothing is left after cropping.
    """
    a, b = compared(a, b, crop)
    # The peak-to-peak range of [-1, 1] is 2.
    return _decibel((a - b).square().mean(dim=(1, 2, 3)), 2.0)


def psnr_y(a: Tensor, b: Tensor, crop: int) -> Tensor:
    """PSNR on luma (BT.601, studio range, peak 255): the convention of super-resolution papers.

    Args:
        a: [N, 3, H, W] in [-1, 1].
        b: shaped as a.
        crop: pixels ignored at every side; super-resolution papers take the scale.

    Returns:
        [N] float64 in decibel.

    Raises:
        ImageValueError: shapes that differ, or not three channels.
        ImageSizeError: nothing is left after cropping.
    """
    a, b = compared(a, b, crop)
    return _decibel((luma(a) - luma(b)).square().mean(dim=(1, 2, 3)), 255.0)


def _decibel(error: Tensor, peak: float) -> Tensor:
    return 10.0 * torch.log10(peak**2 / error)
