"""DPS: one gradient step on the misfit, through the network, at every level."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from restore.sampling.calls import ask, noisy_start, transitions
from restore.sampling.protocol import Problem, Sampling
from restore.sampling.schedules import ddpm_grid

#: Size of the pictures and number of steps for which the paper states its step sizes.
PAPER_VALUES, PAPER_STEPS = 3 * 256 * 256, 1000


def dps(problem: Problem, sigmas: Sequence[float] | None = None, *, step_size: float = 1.0) -> Sampling:
    """Chung et al. 2023, "Diffusion Posterior Sampling for General Noisy Inverse Problems", alg. 1.

    DDPM's step from level sigma to t (see `ddnm`), then x' -= step * grad_x |y - A(D(x, sigma))|, the norm not squared
    and of each row by itself. The paper steps in the variance-preserving x / sqrt(1 + sigma^2); in ours the step gains
    sqrt((1 + sigma^2) (1 + t^2)). A norm's gradient does not grow with the picture or the number of steps, so the
    step is scaled by sqrt(values / (3 * 256^2)) * 1000 / steps for the paper's sizes to mean the same everywhere.

    Args:
        problem: any differentiable degradation.
        sigmas: None for 1000 DDPM levels (paper) over the prior's range; 100 to 250 do.
        step_size: 0.3 to 1.0 in the paper. On a Gaussian prior of tiny pictures 3 is best, and below 1 the
            measurement is hardly followed: tune it for the prior.

    Makes len(sigmas) calls, all differentiated: about 2.5 times the time and 3.2 times the memory of a plain call.
    """
    if sigmas is None:
        levels = ddpm_grid(PAPER_STEPS, min(100.0, problem.prior.sigma_max), max(0.01, problem.prior.sigma_min))
    else:
        levels = tuple(sigmas)
    schedule = transitions(levels)
    x = noisy_start(problem, levels[0])
    scale = step_size * math.sqrt(x[0].numel() / PAPER_VALUES) * PAPER_STEPS / len(levels)
    for step, sigma, t in schedule:
        x = x.detach().requires_grad_()
        d = yield ask(x, sigma, step, len(levels), differentiate=True)
        with torch.enable_grad():
            misfit = (problem.y - problem.degradation.forward(d)).flatten(1)
            (gradient,) = torch.autograd.grad(misfit.norm(dim=1).sum(), x)
        x, d = x.detach(), d.detach()
        a = 1.0 - (t / sigma) ** 2
        guidance = scale * math.sqrt((1.0 + sigma**2) * (1.0 + t**2)) * gradient
        x = a * d + (1.0 - a) * x + a**0.5 * t * problem.noise.like(x) - guidance
    return x
