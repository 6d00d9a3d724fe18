"""What a training step draws and minimises: noise levels, noise, and the EDM loss."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from models.training import TrainingConfig

#: Most noise that a mismatched patch holds, in units of what is told.
LARGEST_MISMATCH = 1.2


def sample_sigma(config: TrainingConfig, count: int, generator: torch.Generator) -> Tensor:
    """Noise levels [count] of the mixture in `TrainingConfig`, log-uniform in each part, on the generator's device."""

    def log_uniform(low: float, high: float) -> Tensor:
        u = torch.rand(count, generator=generator, device=generator.device)
        return torch.exp(math.log(low) + u * math.log(high / low))

    low = log_uniform(config.sigma_low, config.sigma_high)
    high = log_uniform(config.sigma_high, config.sigma_max)
    return torch.where(torch.rand(count, generator=generator, device=generator.device) < config.high_share, high, low)


def mismatched_patches(config: TrainingConfig, count: int) -> int:
    """How many patches of a batch of `count`, the first, hold another noise than is told. As many in every batch:
    a teacher asked about ever other numbers of patches would have its convolutions tuned anew each time."""
    return round(config.mismatch * count)


def noise_factors(config: TrainingConfig, count: int, generator: torch.Generator) -> Tensor:
    """Noise there is, in units of the noise that is told [count]: 1, but for `mismatched_patches`."""
    draws = torch.rand(count, generator=generator, device=generator.device)
    mismatched = torch.arange(count, device=generator.device) < mismatched_patches(config, count)
    return torch.where(mismatched, LARGEST_MISMATCH * draws, 1.0)


def with_grey(
    config: TrainingConfig, images: Tensor, noise: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Patches and their noise, [N, C, H, W] each, of which the share of `grey` is grey as `TrainingConfig` says."""
    draws = torch.rand(3, images.shape[0], 1, 1, 1, generator=generator, device=generator.device)
    grey = draws[0] < config.grey
    turned = draws[2] < 0.5
    scale = torch.where(turned, 3.0**-0.5, torch.exp(-0.5 * math.log(3.0) * draws[1]))
    noise = torch.where(grey, noise[:, :1] * scale, noise)
    return torch.where(grey & turned, images.mean(1, keepdim=True), images), noise


def edm_loss(
    model: Callable[[Tensor, Tensor], Tensor],
    clean: Tensor,
    sigma: Tensor,
    noise: Tensor,
    target: Tensor | None = None,
    s: float = 0.5,
) -> Tensor:
    """Karras et al. 2022, eq. 2 and table 1: weight (sigma^2 + s^2) / (sigma s)^2, s = sigma_data, mean over the
    pixels of each patch [N]; the error is that from `target`, the clean patches when None."""
    weight = (sigma.square() + s * s) / (sigma * s).square()
    error = model(clean + sigma.view(-1, 1, 1, 1) * noise, sigma) - (clean if target is None else target)
    return weight * error.square().mean((1, 2, 3))


def limited(losses: Tensor, limit: Tensor) -> Tensor:
    """Mean of patches' losses [N] in which one above `limit` counts, and pulls, as one at the limit.

    What is not finite counts nothing.
    """
    counted = torch.where(losses.isfinite(), losses, 0.0)
    return (counted * (limit / counted.detach().clamp(min=1e-20)).clamp(max=1.0)).mean()
