"""What users bring as a mask."""

from __future__ import annotations

import os
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from restore.errors import ParameterError
from restore.images import LIBRARY_LIMITS, Limits, decode


def as_mask(values: Any, limits: Limits = LIBRARY_LIMITS) -> Tensor:
    """[H, W] float32, 1 where the picture is to be filled in, else 0.

    Args:
        values: tensor, array or nested list, non-zero there, axes of length 1 before or behind being dropped; or a
            picture (path, bytes, binary file, PIL image), see `bright`.
        limits: of such a picture.

    Raises:
        ParameterError: not two-dimensional, not numbers, or not finite.
        ImageError: no picture.
    """
    if isinstance(values, str | os.PathLike | bytes | Image.Image) or hasattr(values, "read"):
        return bright(decode(values, limits=limits, name="mask").image[0].mean(dim=0) / 2.0 + 0.5)
    try:
        mask = torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ParameterError(f"the mask must be an array of numbers or a picture: {error}") from None
    while mask.ndim > 2 and mask.shape[0] == 1:
        mask = mask[0]
    if mask.ndim == 3 and mask.shape[2] == 1:
        mask = mask[..., 0]
    if mask.ndim != 2:
        raise ParameterError(f"the mask must be [height, width]; got the shape {list(mask.shape)}")
    if not bool(torch.isfinite(mask).all()):
        raise ParameterError("the mask holds NaN or infinity")
    return (mask != 0).float()


def bright(plane: Tensor) -> Tensor:
    """1 where a plane [H, W] is above half its maximum, else 0: masks come as 0 and 255, as 0 and 1, and with JPEG's
    ringing."""
    return (plane > plane.max() / 2.0).float()
