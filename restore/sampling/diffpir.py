"""DiffPIR: plug-and-play restoration along a diffusion schedule."""

from __future__ import annotations

from collections.abc import Sequence

from restore.errors import ParameterError
from restore.sampling.calls import ask, check_fraction, noisy_start, transitions
from restore.sampling.protocol import Problem, Sampling
from restore.sampling.schedules import full_range


def diffpir(
    problem: Problem, sigmas: Sequence[float] | None = None, *, lam: float = 7.0, stochasticity: float = 0.3
) -> Sampling:
    """Zhu et al. 2023, "Denoising Diffusion Models for Plug-and-Play Image Restoration", alg. 1.

        x0 = argmin |y - A x|^2 / sigma_y^2 + lam / sigma^2 |x - D(x, sigma)|^2
        x' = x0 + t (sqrt(1 - zeta) (x - x0) / sigma + sqrt(zeta) z)

    Starts from the initial estimate plus noise, so that a schedule may start low (the paper's t_start).

    Args:
        problem: any degradation.
        sigmas: None for 100 levels (the paper's larger number of calls) over the prior's range.
        lam: trust in the prior: 7 for deblurring, 6 to 12 for super-resolution in the paper; 1 is calibrated for a
            prior whose error is sigma^2.
        stochasticity: zeta, 0.3 (the paper uses 0.1 to 0.5).

    Makes len(sigmas) calls.

    Raises:
        ParameterError: a knob out of range.
    """
    check_fraction(stochasticity=stochasticity)
    if lam <= 0.0:
        raise ParameterError(f"lam must be positive, not {lam}")
    levels = full_range(100, problem.prior) if sigmas is None else tuple(sigmas)
    schedule = transitions(levels)
    x = noisy_start(problem, levels[0])
    for step, sigma, t in schedule:
        d = yield ask(x, sigma, step, len(levels))
        x0 = problem.degradation.gain_step(d, problem.y, x.new_full((x.shape[0],), sigma**2 / lam))
        noise = (1.0 - stochasticity) ** 0.5 * (x - x0) / sigma + stochasticity**0.5 * problem.noise.like(x)
        x = x0 + t * noise
    return x
