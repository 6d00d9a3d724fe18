"""diffusers' schedulers as schedules of noise levels, and a scheduler over the levels that a prior knows."""

from __future__ import annotations

import math
from typing import Any

import torch

from models.errors import UnsupportedNetworkError
from models.loaders.schedules import VARIANCE_PRESERVING, alphas_cumprod
from restore.errors import ParameterError
from restore.prior.protocol import PriorInfo


def sigmas_of(scheduler: Any, steps: int, sigma_max: float = math.inf, sigma_min: float = 0.0) -> tuple[float, ...]:
    """The noise levels that a diffusers scheduler visits, as `sigmas` of `restore.sampling`'s samplers.

    Args:
        scheduler: any with `sigmas` (EDM's, Euler's, DPM-Solver's, ...), or a variance-preserving one.
        steps: as `num_inference_steps`.
        sigma_max: leave out larger ones, such as a prior's `info.sigma_max`.
        sigma_min: leave out smaller ones.

    Returns:
        Strictly falling levels, range [-1, 1], without the final zero.

    Raises:
        UnsupportedNetworkError: a scheduler that has no noise levels, such as those of flow matching.
        ParameterError: none of its levels lies in the range.
    """
    name = type(scheduler).__name__
    if "Flow" in name or scheduler.config.get("use_flow_sigmas"):
        raise UnsupportedNetworkError(f"{name} interpolates instead of adding noise; it has no noise levels")
    scheduler.set_timesteps(steps)
    if name in VARIANCE_PRESERVING:
        bars = alphas_cumprod(dict(scheduler.config) | {"_class_name": name})
        grid = ((1 - bars) / bars).sqrt().log()
        times = torch.as_tensor(scheduler.timesteps).double().clamp(0, len(grid) - 1)
        low = times.floor().long().clamp(max=len(grid) - 2)
        levels = torch.lerp(grid[low], grid[low + 1], times - low).exp()
    elif hasattr(scheduler, "sigmas"):
        levels = torch.as_tensor(scheduler.sigmas).double()
    else:
        raise UnsupportedNetworkError(f"{name} has no noise levels that are known")
    found: list[float] = []
    for level in levels.tolist():
        if sigma_min <= level <= sigma_max and level > 0 and (not found or level < found[-1]):
            found.append(level)
    if not found:
        raise ParameterError(f"none of the {steps} levels of {name} lies between {sigma_min:g} and {sigma_max:g}")
    return tuple(found)


def scheduler_for(info: PriorInfo, steps: int = 1000) -> Any:
    """A `DDIMScheduler` over the noise levels that a prior knows, equidistant in log sigma.

    Args:
        info: of the prior.
        steps: training timesteps.

    Raises:
        ImportError: diffusers is not installed.
    """
    from diffusers import DDIMScheduler

    sigma = torch.logspace(math.log10(info.sigma_min), math.log10(info.sigma_max), steps, dtype=torch.float64)
    bars = 1.0 / (1.0 + sigma.square())
    before = torch.cat([torch.ones(1, dtype=torch.float64), bars[:-1]])
    return DDIMScheduler(
        num_train_timesteps=steps, trained_betas=(1.0 - bars / before).tolist(), clip_sample=False,
        set_alpha_to_one=True, timestep_spacing="trailing",
    )  # fmt: skip
