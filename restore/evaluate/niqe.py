"""NIQE: how natural a picture looks, without a reference (Mittal, Soundararajan, Bovik 2013, "Making a 'completely
blind' image quality analyzer"), as BasicSR computes it."""

from __future__ import annotations

import math
import warnings

import numpy as np
import torch
from torch import Tensor

from restore.errors import ImageSizeError, ImageValueError
from restore.evaluate.basicsr import basicsr_module

#: Side of the blocks whose statistics are compared (section 3 of the paper).
BLOCK = 96


def niqe(x: Tensor, crop: int = 0) -> Tensor:
    """Distance of a picture's statistics from those of natural photographs; smaller is more natural.

    On luma (BT.601, studio range) of the picture as an 8-bit file would hold it, as BasicSR's `calculate_niqe` does.

    Args:
        x: [N, 3, H, W] in [-1, 1].
        crop: pixels ignored at every side.

    Returns:
        [N] float64.

    Raises:
        RuntimeUnavailableError: BasicSR, of the extra `eval`, is not installed.
        ImageValueError: not three channels, or a picture too flat to have such statistics.
        ImageSizeError: fewer than two blocks of 96x96 pixels are left: a covariance needs two.
    """
    if x.ndim != 4 or x.shape[1] != 3:
        raise ImageValueError(f"NIQE needs pictures [N, 3, H, W], not {list(x.shape)}")
    height, width = (side - 2 * crop for side in x.shape[-2:])
    if crop < 0 or (max(height, 0) // BLOCK) * (max(width, 0) // BLOCK) < 2:
        raise ImageSizeError(f"NIQE needs two blocks of {BLOCK}x{BLOCK} pixels or more, which {width}x{height} has not")
    calculate = basicsr_module("metrics").calculate_niqe
    pixels = (x.detach().float().clamp(-1.0, 1.0) * 127.5 + 127.5).round().to(torch.uint8)
    scores = []
    for row in pixels.permute(0, 2, 3, 1).cpu().numpy():
        # Flat blocks divide by zero; BasicSR leaves them out.
        with np.errstate(divide="ignore", invalid="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                score = float(calculate(row[..., ::-1], crop))
            except np.linalg.LinAlgError:
                score = math.nan
        if not math.isfinite(score):
            raise ImageValueError("the picture is too flat for NIQE: it holds fewer than two blocks with texture")
        scores.append(score)
    return torch.tensor(scores, dtype=torch.float64)
