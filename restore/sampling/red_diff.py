"""RED-diff: restoration as optimisation, the prior as a regulariser by denoising."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from restore.sampling.calls import ask, data_gradient, row_noise_level, transitions
from restore.sampling.protocol import Problem, Sampling
from restore.sampling.schedules import ddpm_grid

#: Adam's averages as the paper's code sets them.
BETAS = (0.9, 0.99)


def red_diff(
    problem: Problem, sigmas: Sequence[float] | None = None, *, weight: float = 0.25, rate: float = 0.1
) -> Sampling:
    """Mardani et al. 2024, "A Variational Perspective on Solving Inverse Problems with Diffusion Models", alg. 1.

    Adam (Kingma and Ba 2015, alg. 1) on the picture m, with D(m + sigma z, sigma) = d at falling sigma:

        gradient = A^T (A m - y) + w (m - d) / sigma,         w = max(weight * sigma, sigma_y^2 / sigma).

    (m - d) / sigma is the paper's estimated minus true noise. Two departures, without which noise is fitted at the end:
    the floor of w, the weight at which the prior's term is the gradient of -sigma_y^2 log p_sigma, so that the end is
    the maximum a posteriori; and the rate falls linearly to zero.

    Args:
        problem: a differentiable degradation, noise of one level a row.
        sigmas: None for 100 DDPM levels (the paper uses 100 to 1000) over the prior's range.
        weight: lambda, 0.25 (paper).
        rate: Adam's, 0.1 (paper).

    Makes len(sigmas) calls; the network is not differentiated.

    Raises:
        ParameterError: noise that differs within a row.
    """
    if sigmas is None:
        levels = ddpm_grid(100, min(40.0, problem.prior.sigma_max), max(0.01, problem.prior.sigma_min))
    else:
        levels = tuple(sigmas)
    schedule = transitions(levels)
    noise = row_noise_level(problem, "red_diff").square()
    m = problem.degradation.initial_estimate(problem.y).x
    first, second = torch.zeros_like(m), torch.zeros_like(m)
    for step, sigma, _ in schedule:
        d = yield ask(m + sigma * problem.noise.like(m), sigma, step, len(levels))
        w = (noise / sigma).clamp(min=weight * sigma)
        gradient = data_gradient(problem.degradation, m, problem.y) + w * (m - d) / sigma
        first = first.lerp(gradient, 1.0 - BETAS[0])
        second = second.lerp(gradient.square(), 1.0 - BETAS[1])
        corrected = first / (1.0 - BETAS[0] ** (step + 1)), second / (1.0 - BETAS[1] ** (step + 1))
        m = m - rate * (1.0 - step / len(levels)) * corrected[0] / (corrected[1].sqrt() + 1e-8)
    return m
