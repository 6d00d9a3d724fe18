"""Variance-preserving diffusion networks as denoisers.

A VP network sees sqrt(a) x0 + sqrt(1 - a) n at timestep t, a = alphas_cumprod[t]. Divided by sqrt(a) that is
x0 + sigma n with sigma = sqrt((1 - a) / a): every VP network is a denoiser in the variance-exploding form, read at the
timestep whose sigma fits (Karras et al. 2022, "EDM", appendix C.3; Song et al. 2021, section 3.4).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from restore.errors import ParameterError
from restore.prior.protocol import PriorInfo

Network = Callable[[Tensor, Tensor], Tensor]
"""(x [N, C, H, W] scaled to about unit variance, t [N] float32 timesteps) -> [N, C or 2C, H, W]."""


class _VPDenoiser(ABC):
    """What the three parametrisations share.

    Args:
        network: a VP network; a learned variance (channels C to 2C of its output) is ignored.
        alphas_cumprod: [T], its cumulative products of alpha, falling from almost 1 to almost 0.
        info: facts; when None, the noise levels come from `alphas_cumprod` and gradients are promised.
        clip: limit the estimate to [-1, 1] (static thresholding, Ho et al. 2020); it helps at large sigma.

    Raises:
        ParameterError: `alphas_cumprod` is not a strictly falling sequence inside (0, 1).
    """

    def __init__(
        self, network: Network, alphas_cumprod: Tensor, *, info: PriorInfo | None = None, clip: bool = True
    ) -> None:
        a = alphas_cumprod.detach().to("cpu", torch.float64)
        if a.ndim != 1 or len(a) < 2 or not bool(((a > 0) & (a < 1)).all()) or not bool((a.diff() < 0).all()):
            raise ParameterError("alphas_cumprod must be two or more strictly falling numbers between 0 and 1")
        self._network = network
        self._log_sigma = ((1.0 - a) / a).sqrt().log()
        self._clip = clip
        if info is None:
            low, high = self._log_sigma[0].exp().item(), self._log_sigma[-1].exp().item()
            info = PriorInfo("network", sigma_min=low, sigma_max=high, differentiable=True)
        self._info = info

    @property
    def info(self) -> PriorInfo:
        return self._info

    def timestep(self, sigma: Tensor) -> Tensor:
        """Fractional timestep [N] of each sigma [N]: linear in log sigma between timesteps, clamped at both ends."""
        s = sigma.detach().to("cpu", torch.float64).log().contiguous()
        right = torch.searchsorted(self._log_sigma, s).clamp(1, len(self._log_sigma) - 1)
        low, high = self._log_sigma[right - 1], self._log_sigma[right]
        t = (right - 1) + ((s - low) / (high - low)).clamp(0.0, 1.0)
        return t.to(sigma.device, torch.float32)

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """E[x0 | x]: x [N, C, H, W] float32, sigma [N] float32."""
        s = sigma.view(-1, 1, 1, 1)
        scale = (1.0 + s.square()).rsqrt()
        output = self._network(x * scale, self.timestep(sigma))[:, : x.shape[1]].to(x.dtype)
        estimate = self._estimate(x, s, scale, output)
        return estimate.clamp(-1.0, 1.0) if self._clip else estimate

    @abstractmethod
    def _estimate(self, x: Tensor, sigma: Tensor, scale: Tensor, output: Tensor) -> Tensor:
        """D from the network's output; sigma and scale = 1/sqrt(1 + sigma^2) are [N, 1, 1, 1]."""


class EpsilonDenoiser(_VPDenoiser):
    """A network that predicts the noise: D = x - sigma eps (Ho et al. 2020, eq. 15, in VE form)."""

    def _estimate(self, x: Tensor, sigma: Tensor, scale: Tensor, output: Tensor) -> Tensor:
        return x - sigma * output


class VelocityDenoiser(_VPDenoiser):
    """A network that predicts v = sqrt(a) n - sqrt(1 - a) x0: D = x / (1 + sigma^2) - sigma / sqrt(1 + sigma^2) v.

    Source: Salimans and Ho 2022, appendix D, in VE form.
    """

    def _estimate(self, x: Tensor, sigma: Tensor, scale: Tensor, output: Tensor) -> Tensor:
        return scale.square() * x - sigma * scale * output


class SampleDenoiser(_VPDenoiser):
    """A network that predicts the picture itself: D = x0."""

    def _estimate(self, x: Tensor, sigma: Tensor, scale: Tensor, output: Tensor) -> Tensor:
        return output
