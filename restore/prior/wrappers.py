"""Variance-preserving diffusion networks as denoisers.

A VP network sees sqrt(a) x0 + sqrt(1 - a) n at timestep t, a = alphas_cumprod[t]. Divided by sqrt(a) that is
x0 + sigma n with sigma = sqrt((1 - a) / a): every VP network is a denoiser in the variance-exploding form, read at the
timestep whose sigma fits (Karras et al. 2022, "EDM", appendix C.3; Song et al. 2021, section 3.4).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from restore.errors import ParameterError
from restore.prior.protocol import PriorInfo

Network = Callable[[Tensor, Tensor], Tensor]
"""(x [N, C, H, W] scaled to about unit variance, t [N] float32 timesteps) -> [N, C or 2C, H, W]."""


Prediction = Literal["epsilon", "v_prediction", "sample"]
"""What a VP network predicts, in diffusers' words."""


def vp_estimate(prediction: Prediction, x: Tensor, sigma: Tensor, output: Tensor) -> Tensor:
    """D(x, sigma) from the output of a VP network that saw x / sqrt(1 + sigma^2).

    "epsilon", the noise: D = x - sigma eps (Ho et al. 2020, eq. 15). "v_prediction", v = sqrt(a) n - sqrt(1 - a) x0:
    D = x / (1 + sigma^2) - sigma / sqrt(1 + sigma^2) v (Salimans and Ho 2022, appendix D). "sample": D = x0.

    Args:
        prediction: what the output is.
        x: [N, C, H, W], in [-1, 1] plus noise.
        sigma: [N, 1, 1, 1].
        output: [N, C, H, W].
    """
    if prediction == "epsilon":
        return x - sigma * output
    if prediction == "v_prediction":
        scale = (1.0 + sigma.square()).rsqrt()
        return scale.square() * x - sigma * scale * output
    return output


class Timesteps(nn.Module):
    """Fractional timesteps of noise levels: linear in log sigma between a network's own, clamped at both ends.

    Made of operations that every export format knows. The logarithm is taken of ratios near one, so that float32
    keeps a timestep to about 1e-4 where neighbours differ by a thousandth.

    Args:
        alphas_cumprod: [T], cumulative products of alpha, falling from almost 1 to almost 0.

    Raises:
        ParameterError: `alphas_cumprod` is not a strictly falling sequence inside (0, 1).
    """

    levels: Tensor

    def __init__(self, alphas_cumprod: Tensor) -> None:
        super().__init__()
        a = alphas_cumprod.detach().to("cpu", torch.float64)
        if a.ndim != 1 or len(a) < 2 or not bool(((a > 0) & (a < 1)).all()) or not bool((a.diff() < 0).all()):
            raise ParameterError("alphas_cumprod must be two or more strictly falling numbers between 0 and 1")
        self.register_buffer("levels", ((1.0 - a) / a).sqrt().float(), persistent=False)

    def forward(self, sigma: Tensor) -> Tensor:
        """[N] float32 timesteps of sigma [N]."""
        levels = self.levels.to(sigma.device)
        below = (levels[None, 1:-1] <= sigma[:, None]).sum(1)
        low, high = levels[below], levels[below + 1]
        return below + ((sigma / low).log() / (high / low).log()).clamp(0.0, 1.0)

    @property
    def sigma_min(self) -> float:
        """The smallest noise level of the network."""
        return float(self.levels[0])

    @property
    def sigma_max(self) -> float:
        """The largest noise level of the network."""
        return float(self.levels[-1])


class _VPDenoiser:
    """What the three parametrisations share.

    Args:
        network: a VP network; a learned variance (channels C to 2C of its output) is ignored.
        alphas_cumprod: [T], its cumulative products of alpha, falling from almost 1 to almost 0.
        info: facts; when None, the noise levels come from `alphas_cumprod` and gradients are promised.
        clip: limit the estimate to [-1, 1] (static thresholding, Ho et al. 2020); it helps at large sigma.

    Raises:
        ParameterError: `alphas_cumprod` is not a strictly falling sequence inside (0, 1).
    """

    prediction: ClassVar[Prediction]

    def __init__(
        self, network: Network, alphas_cumprod: Tensor, *, info: PriorInfo | None = None, clip: bool = True
    ) -> None:
        self._network = network
        self._timesteps = Timesteps(alphas_cumprod)
        self._clip = clip
        if info is None:
            low, high = self._timesteps.sigma_min, self._timesteps.sigma_max
            info = PriorInfo("network", sigma_min=low, sigma_max=high, differentiable=True)
        self._info = info

    @property
    def info(self) -> PriorInfo:
        return self._info

    def timestep(self, sigma: Tensor) -> Tensor:
        """Fractional timestep [N] of each sigma [N]: linear in log sigma between timesteps, clamped at both ends."""
        timesteps: Tensor = self._timesteps(sigma.detach().float())
        return timesteps

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """E[x0 | x]: x [N, C, H, W] float32, sigma [N] float32."""
        s = sigma.view(-1, 1, 1, 1)
        scale = (1.0 + s.square()).rsqrt()
        output = self._network(x * scale, self.timestep(sigma))[:, : x.shape[1]].to(x.dtype)
        estimate = vp_estimate(self.prediction, x, s, output)
        return estimate.clamp(-1.0, 1.0) if self._clip else estimate


class EpsilonDenoiser(_VPDenoiser):
    """A network that predicts the noise, see `vp_estimate`."""

    prediction = "epsilon"


class VelocityDenoiser(_VPDenoiser):
    """A network that predicts v, see `vp_estimate`."""

    prediction = "v_prediction"


class SampleDenoiser(_VPDenoiser):
    """A network that predicts the picture itself: D = x0."""

    prediction = "sample"
