"""The noise levels of discrete-time diffusion networks, from a scheduler's configuration in diffusers' words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from models.errors import UnsupportedNetworkError

#: diffusers' schedulers whose networks see sqrt(a) x0 + sqrt(1 - a) n at integer timesteps.
VARIANCE_PRESERVING = frozenset(
    f"{name}Scheduler"
    for name in (
        "DDPM", "DDPMParallel", "DDIM", "DDIMParallel", "DDIMInverse", "PNDM", "DPMSolverMultistep",
        "DPMSolverMultistepInverse", "DPMSolverSinglestep", "DPMSolverSDE", "DEISMultistep", "UniPCMultistep",
        "EulerDiscrete", "EulerAncestralDiscrete", "HeunDiscrete", "KDPM2Discrete", "KDPM2AncestralDiscrete",
        "LMSDiscrete", "SASolver", "RePaint", "LCM", "TCD", "UnCLIP",
    )
)  # fmt: skip
#: Those whose own default range of beta is Stable Diffusion's; the others' is that of Ho et al. 2020.
_NARROW = (
    "LCMScheduler",
    "TCDScheduler",
    "HeunDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "DPMSolverSDEScheduler",
)
_SCHEDULES = {
    "LCMScheduler": "scaled_linear",
    "TCDScheduler": "scaled_linear",
    "UnCLIPScheduler": "squaredcos_cap_v2",
}


def alphas_cumprod(config: Mapping[str, Any]) -> Tensor:
    """[T] float64, the cumulative products of alpha, strictly falling inside (0, 1).

    Sources: "linear", Ho et al. 2020; "squaredcos_cap_v2", Nichol and Dhariwal 2021, eq. 17 with beta limited to
    0.999; "scaled_linear", Rombach et al. 2022; "sigmoid", Xu et al. 2022 (GeoDiff); zero terminal SNR, Lin et al.
    2023, algorithm 1: its last level, pure noise, is left out.

    Args:
        config: of a diffusers scheduler; what it leaves out has that scheduler's default.

    Raises:
        UnsupportedNetworkError: another schedule, or numbers that are none.
    """
    name, steps = config.get("_class_name"), int(config.get("num_train_timesteps", 1000))
    kind, narrow = config.get("beta_schedule", _SCHEDULES.get(str(name), "linear")), name in _NARROW
    low = float(config.get("beta_start", 0.00085 if narrow else 1e-4))
    high = float(config.get("beta_end", 0.012 if narrow else 0.02))
    if config.get("trained_betas") is not None:
        betas = torch.tensor(config["trained_betas"], dtype=torch.float64)
    elif kind == "linear":
        betas = torch.linspace(low, high, steps, dtype=torch.float64)
    elif kind == "scaled_linear":
        betas = torch.linspace(math.sqrt(low), math.sqrt(high), steps, dtype=torch.float64).square()
    elif kind == "squaredcos_cap_v2":
        ends = torch.arange(steps + 1, dtype=torch.float64) / steps
        bars = ((ends + 0.008) / 1.008 * math.pi / 2).cos().square()
        betas = (1 - bars[1:] / bars[:-1]).clamp(max=0.999)
    elif kind == "sigmoid":
        betas = torch.linspace(-6, 6, steps, dtype=torch.float64).sigmoid() * (high - low) + low
    else:
        raise UnsupportedNetworkError(
            f"the noise schedule {kind!r} is not known; known: linear, scaled_linear, squaredcos_cap_v2, sigmoid"
        )
    bars = (1 - betas).cumprod(0)
    if config.get("rescale_betas_zero_snr"):
        roots = bars.sqrt()
        bars = ((roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])).square()
    bars = bars[bars > 0]
    if len(bars) < 2 or not bool((bars < 1).all() & (bars.diff() < 0).all()):
        raise UnsupportedNetworkError("the scheduler's betas are no noise schedule: they must lie between 0 and 1")
    return bars
