"""Structural similarity (Wang, Bovik, Sheikh, Simoncelli 2004, "Image quality assessment: from error visibility to
structural similarity", equation 13, with the paper's 11x11 Gaussian window of standard deviation 1.5)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from restore.evaluate.luma import compared, luma

WINDOW = 11
DEVIATION = 1.5
#: K1, K2 of section III.B of the paper, for values on the 0-255 scale.
C1 = (0.01 * 255.0) ** 2
C2 = (0.03 * 255.0) ** 2


def ssim(a: Tensor, b: Tensor, crop: int = 0) -> Tensor:
    """Mean structural similarity of each channel where the window fits, averaged over channels.

    Args:
        a: [N, C, H, W] in [-1, 1].
        b: shaped as a.
        crop: pixels ignored at every side.

    Returns:
        [N] float64, 1 for equal pictures.

    Raises:
        ImageValueError: shapes that differ.
        ImageSizeError: less than the 11x11 window is left.
    """
    a, b = compared(a, b, crop, WINDOW)
    return _similarity(a * 127.5 + 127.5, b * 127.5 + 127.5)


def ssim_y(a: Tensor, b: Tensor, crop: int) -> Tensor:
    """Structural similarity on luma (BT.601, studio range): the convention of super-resolution papers.

    Args:
        a: [N, 3, H, W] in [-1, 1].
        b: shaped as a.
        crop: pixels ignored at every side; super-resolution papers take the scale.

    Returns:
        [N] float64.

    Raises:
        ImageValueError: shapes that differ, or not three channels.
        ImageSizeError: less than the 11x11 window is left.
    """
    a, b = compared(a, b, crop, WINDOW)
    return _similarity(luma(a), luma(b))


def _similarity(a: Tensor, b: Tensor) -> Tensor:
    """Of values on the 0-255 scale."""
    moments = _smooth(torch.cat([a, b, a * a, b * b, a * b], dim=1))
    mean_a, mean_b, square_a, square_b, product = moments.chunk(5, dim=1)
    variances = square_a - mean_a.square() + square_b - mean_b.square()
    covariance = product - mean_a * mean_b
    luminance = (2.0 * mean_a * mean_b + C1) / (mean_a.square() + mean_b.square() + C1)
    structure = (2.0 * covariance + C2) / (variances + C2)
    similarity: Tensor = (luminance * structure).mean(dim=(1, 2, 3))
    return similarity


def _smooth(x: Tensor) -> Tensor:
    """Weighted mean under the window, wherever it lies wholly inside."""
    offset = torch.arange(WINDOW, dtype=x.dtype, device=x.device) - WINDOW // 2
    weights = torch.exp(-offset.square() / (2.0 * DEVIATION**2))
    weights = (weights / weights.sum()).view(1, 1, 1, -1)
    n, c, h, w = x.shape
    x = F.conv2d(x.reshape(n * c, 1, h, w), weights)
    x = F.conv2d(x, weights.transpose(2, 3))
    return x.view(n, c, *x.shape[-2:])
