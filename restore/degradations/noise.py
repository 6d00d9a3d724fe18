"""Noise models: how a measurement scatters around A(x)."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from restore.errors import ParameterError


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


class PerPixelGaussianNoise:
    """Independent Gaussian noise with a standard deviation of its own at every value.

    Args:
        sigma: a map broadcastable to the measurement (such as [1, 1, H, W] or [N, C, H, W]), range [-1, 1],
            nowhere negative.

    Raises:
        ParameterError: a negative or non-finite entry.
    """

    def __init__(self, sigma: Tensor) -> None:
        if not bool(torch.isfinite(sigma).all()) or bool((sigma < 0).any()):
            raise ParameterError("The noise map must be finite and nowhere negative.")
        self.sigma = sigma

    def variance(self, mean: Tensor) -> Tensor:
        """Shaped as `mean`."""
        return self.sigma.to(mean).square().expand_as(mean)

    def sample(self, mean: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """mean + sigma n."""
        noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype).to(mean.device)
        return mean + self.sigma.to(mean) * noise


class PoissonGaussianNoise:
    """Shot and read noise: variance a * max(mean + 1, 0) + b^2 (Foi et al., IEEE TIP 2008, equation 2).

    mean + 1 is the intensity, 0 at black. On [0, 1], where y01 = (y + 1) / 2 and the variance is a01 * x01 + b01^2,
    everything scales with y = 2 y01 - 1: the variance by 4 and x01 = (mean + 1) / 2, hence a = 2 a01 and b = 2 b01.

    Args:
        a: gain, variance per unit of intensity, range [-1, 1]; a number or one per row [N]; 0 leaves read noise only.
        b: standard deviation of the read noise, range [-1, 1]; a number or one per row [N].

    Raises:
        ParameterError: a or b is negative or not finite.
    """

    def __init__(self, a: float | Tensor, b: float | Tensor) -> None:
        for name, value in (("gain a", a), ("read noise b", b)):
            tensor = torch.as_tensor(value)
            if not bool(torch.isfinite(tensor).all()) or bool((tensor < 0).any()):
                raise ParameterError(f"The {name} of the Poisson-Gaussian noise must be finite and not negative.")
        self.a = a
        self.b = b

    @classmethod
    def from_unit_range(cls, a01: float | Tensor, b01: float | Tensor) -> PoissonGaussianNoise:
        """From the parameters of a picture on [0, 1]: variance a01 * x01 + b01^2."""
        return cls(2.0 * a01, 2.0 * b01)

    def variance(self, mean: Tensor) -> Tensor:
        """Shaped as `mean`."""
        a, b = self._row(self.a, mean), self._row(self.b, mean)
        return a * (mean + 1.0).clamp(min=0.0) + b.square()

    def sample(self, mean: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """a * Poisson((mean + 1) / a) - 1 + b n; drawn on the CPU so that a seed means the same everywhere."""
        a, b = self._row(self.a, mean).cpu(), self._row(self.b, mean).cpu()
        intensity = (mean.detach().cpu() + 1.0).clamp(min=0.0)
        gain = a.clamp(min=torch.finfo(torch.float32).tiny)
        # Below 1e-7 shot noise cannot be seen (0.03 on the 0-255 scale at white), and float32 cannot hold the counts.
        shot = torch.where(a > 1e-7, gain * torch.poisson(intensity / gain.clamp(min=1e-7), generator), intensity)
        read = b * torch.randn(mean.shape, generator=generator, dtype=mean.dtype)
        return (shot - 1.0 + read).to(mean)

    @staticmethod
    def _row(value: float | Tensor, mean: Tensor) -> Tensor:
        tensor = torch.as_tensor(value, dtype=mean.dtype, device=mean.device)
        return tensor.view(-1, *[1] * (mean.ndim - 1)) if tensor.ndim else tensor
