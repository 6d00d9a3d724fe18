"""A sampler is a generator of denoiser calls."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace

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
        span: which part of the sampler's work this call is, from and to, 0 to 1; None where all calls are alike.
    """

    x: Tensor
    sigma: Tensor
    step: int
    steps: int
    differentiate: bool = False
    span: tuple[float, float] | None = None

    def fraction(self, answered: float = 1.0) -> float:
        """How much of the sampler's work is done, 0 to 1, when so much of this call is answered."""
        start, end = self.span or (self.step / self.steps, (self.step + 1) / self.steps)
        return min(start + answered * (end - start), 1.0)

    def within(self, start: float, end: float, step: int, steps: int) -> DenoiserCall:
        """This call, numbered anew, when all of its sampler's work is only the part from `start` to `end` of more."""
        first, last = (start + self.fraction(answered) * (end - start) for answered in (0.0, 1.0))
        return replace(self, step=step, steps=steps, span=(first, last))


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
