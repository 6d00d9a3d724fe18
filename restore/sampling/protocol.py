"""A sampler is a generator of denoiser calls."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from restore.degradations.base import Degradation
from restore.errors import ParameterError
from restore.prior.protocol import PriorInfo


@dataclass(frozen=True)
class DenoiserCall:
    """One evaluation of the prior that a sampler asks for.

    Attributes:
        x: [N, C, H, W] float32, any H and W (the driver's denoiser pads and tiles).
        sigma: [N] float32.
        step: index of this call, counted from 0.
        steps: how many calls this sampler makes in all.
        differentiate: the answer must carry the graph back to `x` (DPS, PiGDM).
    """

    x: Tensor
    sigma: Tensor
    step: int
    steps: int
    differentiate: bool = False


Sampling = Generator[DenoiserCall, Tensor, Tensor]
"""Yields calls, is sent denoised images, returns the restored image [N, C, H, W]."""


class RowNoise:
    """Standard normal noise whose rows depend only on (seed, index of the row), never on the batch.

    Args:
        seed: of the whole request.
        indices: one number a row: the picture's index, or the sample's.
    """

    def __init__(self, seed: int, indices: Sequence[int]) -> None:
        # Spread (seed, index) over 63 bits: neighbouring pairs must not give overlapping streams.
        mix = [(seed * 0x9E3779B97F4A7C15 + (i + 1) * 0xBF58476D1CE4E5B9) & 0x7FFFFFFFFFFFFFFF for i in indices]
        self._generators = [torch.Generator().manual_seed(m) for m in mix]

    def like(self, x: Tensor) -> Tensor:
        """A fresh draw shaped as x [N, ...], N being the number of indices; drawn on the CPU for reproducibility.

        Raises:
            ParameterError: another number of rows.
        """
        if x.shape[0] != len(self._generators):
            raise ParameterError(
                f"noise was asked for {x.shape[0]} rows and there are indices for {len(self._generators)}; give "
                "RowNoise one index a row"
            )
        rows = [torch.randn(x.shape[1:], generator=g, dtype=torch.float32) for g in self._generators]
        # One row, of a large picture perhaps, is not copied.
        noise = rows[0][None] if len(rows) == 1 else torch.stack(rows)
        return noise.to(x.device, x.dtype)


@dataclass(frozen=True)
class Problem:
    """What a sampler is given: a measurement, how it came about, the prior's facts, and its noise.

    Attributes:
        y: the measurement, [N, ...] as the degradation's `forward` returns it.
        degradation: owns forward, adjoint, noise, initial estimate and gain step.
        prior: facts of the prior that will answer.
        noise: source of every random number the sampler uses.
        assumed: sentences on what had to be taken for true on the way; for the report.
        start: makes a better estimate than the degradation's own to start from, [N, C, H, W]; None when there is none.
            Made when it is needed: it would take a picture's memory for the whole run.
    """

    y: Tensor
    degradation: Degradation
    prior: PriorInfo
    noise: RowNoise = field(default_factory=lambda: RowNoise(0, [0]))
    assumed: list[str] = field(default_factory=list)
    start: Callable[[], Tensor] | None = None
