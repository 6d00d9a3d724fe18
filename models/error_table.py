"""Measuring v(sigma), a prior's own mean squared error at each noise level."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from restore.errors import CorruptWeightsError
from restore.prior.protocol import Denoiser, ErrorTable

#: Sixteen levels over the range that priors are trained on (`TrainingConfig`), equidistant in log sigma.
SIGMAS: tuple[float, ...] = tuple(np.geomspace(0.005, 10.0, 16).tolist())


def central_crops(photographs: Sequence[NDArray[np.uint8]], size: int = 256) -> list[Tensor]:
    """Central square crops [3, size, size] float32 in [-1, 1] of uint8 HWC photographs, smaller ones left out."""
    crops = []
    for pixels in photographs:
        top, left = (pixels.shape[0] - size) // 2, (pixels.shape[1] - size) // 2
        if top >= 0 and left >= 0:
            crop = torch.from_numpy(pixels[top : top + size, left : left + size].copy())
            crops.append(crop.permute(2, 0, 1).float() / 127.5 - 1.0)
    return crops


@torch.no_grad()
def measure_error_table(
    denoiser: Denoiser, pictures: Sequence[Tensor], sigmas: Sequence[float] = SIGMAS, seed: int = 0
) -> ErrorTable:
    """Mean squared error per value of D(x0 + sigma n, sigma) around x0, over all pictures, at each noise level.

    Args:
        denoiser: the prior.
        pictures: clean pictures, each [C, H, W] float32 in [-1, 1], that the prior was not trained on.
        sigmas: two or more rising noise levels, range [-1, 1].
        seed: of the noise; the same noise serves every level, which keeps the table smooth.

    Raises:
        ValueError: no pictures, or sigmas that are not two or more rising positive numbers.
    """
    if not pictures:
        raise ValueError("no pictures to measure the error on")
    if len(sigmas) < 2 or sigmas[0] <= 0 or any(a >= b for a, b in pairwise(sigmas)):
        raise ValueError(f"sigmas must be two or more rising positive numbers, not {list(sigmas)}")
    totals = [0.0] * len(sigmas)
    values = sum(picture.numel() for picture in pictures)
    generator = torch.Generator().manual_seed(seed)
    for picture in pictures:
        clean = picture[None]
        noise = torch.randn(clean.shape, generator=generator)
        for i, level in enumerate(sigmas):
            estimate = denoiser(clean + level * noise, torch.tensor([level], dtype=torch.float32))
            totals[i] += (estimate - clean).double().square().sum().item()
    return ErrorTable(tuple(float(s) for s in sigmas), tuple(total / values for total in totals))


def save_error_table(table: ErrorTable, path: Path) -> None:
    """Write the table as JSON: {"sigma": [...], "mse": [...]}."""
    numbers = {"sigma": [float(f"{s:.8g}") for s in table.sigma], "mse": [float(f"{v:.6g}") for v in table.mse]}
    path.write_text(json.dumps(numbers, indent=2) + "\n")


def load_error_table(path: Path) -> ErrorTable:
    """Read what `save_error_table` wrote.

    Raises:
        CorruptWeightsError: the file is missing or holds no table.
    """
    try:
        numbers = json.loads(path.read_text())
        sigma, mse = tuple(map(float, numbers["sigma"])), tuple(map(float, numbers["mse"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptWeightsError(f"{path} is no error table ({error}); reinstall the prior") from error
    positive = all(math.isfinite(v) and v > 0 for v in (*sigma, *mse))
    if len(sigma) < 2 or len(sigma) != len(mse) or list(sigma) != sorted(set(sigma)) or not positive:
        raise CorruptWeightsError(f"{path} is no error table: needs rising sigmas and as many errors")
    return ErrorTable(sigma, mse)
