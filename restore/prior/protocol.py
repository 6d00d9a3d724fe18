"""What the core knows of a prior: one call, and facts about it as data."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor


@dataclass(frozen=True)
class ErrorTable:
    """v(sigma): the prior's own mean squared error (per value, range [-1, 1]) at increasing noise levels.

    Measured once on photographs and stored beside the weights. Between entries log v is linear in log sigma;
    outside, it keeps the last slope below (v ~ sigma^2 as sigma -> 0) and the last value above.
    """

    sigma: tuple[float, ...]
    mse: tuple[float, ...]

    @cached_property
    def _logarithms(self) -> tuple[Tensor, Tensor]:
        return torch.tensor(self.sigma, dtype=torch.float64).log(), torch.tensor(self.mse, dtype=torch.float64).log()

    def __call__(self, sigma: Tensor) -> Tensor:
        """Mean squared error at each sigma; same shape and device as the argument."""
        grid, values = self._logarithms
        s = sigma.detach().to("cpu", torch.float64).log()
        index = torch.searchsorted(grid, s.contiguous()).clamp(1, len(grid) - 1)
        left, right = grid[index - 1], grid[index]
        weight = ((s - left) / (right - left)).clamp(max=1.0)
        inside = values[index - 1] + weight * (values[index] - values[index - 1])
        below = values[0] + 2.0 * (s - grid[0])
        return torch.where(s < grid[0], below, inside).exp().to(sigma)


@dataclass(frozen=True)
class PriorInfo:
    """Facts about a prior.

    Attributes:
        name: how users call it.
        channels: of the pictures it knows.
        sigma_min: smallest noise level it was trained on, range [-1, 1].
        sigma_max: largest noise level it was trained on.
        multiple_of: height and width must be divisible by this.
        native_size: the only side length it accepts; None when fully convolutional.
        receptive_field: pixels across that one output value depends on; a tile's overlap follows from it.
        differentiable: whether gradients flow through a call (needed by DPS and PiGDM only).
        sigma_data: standard deviation of its training pictures in [-1, 1] (EDM).
        error_table: v(sigma); None when it was not measured.
        digest: "sha256:..." of the weights; empty when there are none.
        runtime: what executes it and in which precision, such as "torch:bf16"; empty when that is not told.
    """

    name: str
    channels: int = 3
    sigma_min: float = 0.005
    sigma_max: float = 10.0
    multiple_of: int = 1
    native_size: int | None = None
    receptive_field: int = 1
    differentiable: bool = False
    sigma_data: float = 0.5
    error_table: ErrorTable | None = None
    digest: str = ""
    runtime: str = ""

    def variance(self, sigma: Tensor) -> Tensor:
        """v(sigma), the variance of the prior's estimate around the truth: measured where a table exists, else
        sigma_data^2 sigma^2 / (sigma_data^2 + sigma^2), exact for a white Gaussian prior."""
        if self.error_table is not None:
            return self.error_table(sigma)
        s2, d2 = sigma.square(), self.sigma_data**2
        return d2 * s2 / (d2 + s2)


@runtime_checkable
class Denoiser(Protocol):
    """A prior: E[x0 | x0 + sigma n = x].

    Called with x [N, C, H, W] float32, range [-1, 1] plus noise, and sigma [N] float32 (one noise level a row);
    returns a tensor like x, which is the caller's: samplers write into it. H and W are multiples of
    `info.multiple_of`. A row's answer does not depend on the other rows.
    """

    @property
    def info(self) -> PriorInfo: ...

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor: ...
