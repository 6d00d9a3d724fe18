"""DDPG: guidance that turns from back-projection into least squares."""

from __future__ import annotations

from collections.abc import Sequence

from restore.sampling.calls import ask, check_fraction, linear, noisy_start, row_noise_level, transitions, variance
from restore.sampling.protocol import Problem, Sampling
from restore.sampling.schedules import full_range


def ddpg(
    problem: Problem,
    sigmas: Sequence[float] | None = None,
    *,
    gamma: float = 8.0,
    stochasticity: float = 0.5,
    regularisation: float = 6.0,
) -> Sampling:
    """Garber and Tirer 2024, "Image Restoration by Denoising Diffusion Models with Iteratively Preconditioned
    Guidance".

        x0 = d + (1 - delta) A^T (A A^T + eta I)^-1 r + delta c A^T r,     r = y - A d,     delta = (1 + t^2)^-gamma
        x' = x0 + t (sqrt(1 - zeta) (x - x0) / sigma + sqrt(zeta) z)

    c departs from the paper, which sets it by task: c = v / (sigma_y^2 + v), the exact step where A A^T = I, because a
    constant one returns the noise of y wherever A is the identity. For operators of norm at most 1, as all of ours are.

    Args:
        problem: linear degradation, noise of one level a row.
        sigmas: None for 100 levels (the paper's number of calls) over the prior's range.
        gamma: how early the turn is; 3 to 300 in the paper.
        stochasticity: zeta, 0.4 to 1 in the paper.
        regularisation: eta = max(1e-4, regularisation * sigma_y^2); 0.3 to 6 in the paper, the most for noisy blur.

    Makes len(sigmas) calls.

    Raises:
        ParameterError: a non-linear degradation, noise that differs within a row, or a knob out of range.
    """
    check_fraction(stochasticity=stochasticity)
    levels = full_range(100, problem.prior) if sigmas is None else tuple(sigmas)
    schedule = transitions(levels)
    degradation, noise = linear(problem, "ddpg"), row_noise_level(problem, "ddpg").square()
    eta = (regularisation * noise.flatten()).clamp(min=1e-4)
    x = noisy_start(problem, levels[0])
    for step, sigma, t in schedule:
        d = yield ask(x, sigma, step, len(levels))
        delta = (1.0 + t**2) ** -gamma
        v = variance(problem, x, sigma)
        r = problem.y - degradation.forward(d)
        projection = degradation.adjoint(degradation.solve(r, eta, v.new_ones(v.shape)))
        gain = v.view(-1, 1, 1, 1) / (noise + v.view(-1, 1, 1, 1))
        x0 = d + (1.0 - delta) * projection + delta * gain * degradation.adjoint(r)
        fresh = stochasticity**0.5 * problem.noise.like(x)
        x = x0 + t * ((1.0 - stochasticity) ** 0.5 * (x - x0) / sigma + fresh)
    return x
