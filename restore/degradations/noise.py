"""Noise models: how a measurement scatters around A(x)."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class NoiseModel(Protocol):
    """Independent noise whose variance may depend on the place and on the signal. Units: range [-1, 1]."""

    def variance(self, mean: Tensor) -> Tensor:
        """Variance around a noise-free measurement `mean` [N, ...]: [N], or shaped as `mean`."""

    def sample(self, mean: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """A noisy measurement, shaped as `mean`, neither clipped nor rounded."""


class GaussianNoise:
    """White Gaussian noise; sigma is a number or one per row, range [-1, 1] (twice the value on [0, 1]).

    Args:
        sigma: standard deviation; `sigma_255 / 127.5` for a value on the 0-255 scale.
    """

    def __init__(self, sigma: float | Tensor) -> None:
        self.sigma = sigma

    def variance(self, mean: Tensor) -> Tensor:
        """[N]."""
        sigma = torch.as_tensor(self.sigma, dtype=mean.dtype, device=mean.device)
        return sigma.square().expand(mean.shape[0])

    def sample(self, mean: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """mean + sigma n."""
        noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype).to(mean.device)
        sigma = self.variance(mean).sqrt().view(-1, *[1] * (mean.ndim - 1))
        return mean + sigma * noise
