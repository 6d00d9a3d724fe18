"""Noise schedules: strictly decreasing tuples of sigma, range [-1, 1], without the final zero."""

from __future__ import annotations

import math

from restore.errors import ParameterError
from restore.prior.protocol import PriorInfo

#: Where the few-step grid starts for a posterior mean and for a posterior sample, and where both end. Best of a sweep
#: on a Gaussian prior with known answer over four degradations (0.3-0.5 and 0.5-1, ends 0.03-0.1); the end is the
#: lower one because a real prior still improves there.
MEAN_START, SAMPLE_START, END = 0.5, 1.0, 0.03


def poly(steps: int, sigma_max: float, sigma_min: float, rho: float = 7.0) -> tuple[float, ...]:
    """sigma^(1/rho) spaced evenly (Karras et al. 2022, "EDM", eq. 5; rho = 7 is theirs).

    Raises:
        ParameterError: fewer than one step, or not sigma_max > sigma_min > 0.
    """
    _check(steps, sigma_max, sigma_min)
    high, low = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    return tuple((high + i / max(steps - 1, 1) * (low - high)) ** rho for i in range(steps))


def log_grid(steps: int, sigma_max: float, sigma_min: float) -> tuple[float, ...]:
    """log sigma spaced evenly (Zhang et al. 2021, "DPIR", sec. 4.2).

    Raises:
        ParameterError: fewer than one step, or not sigma_max > sigma_min > 0.
    """
    _check(steps, sigma_max, sigma_min)
    ratio = math.log(sigma_min / sigma_max)
    return tuple(sigma_max * math.exp(i / max(steps - 1, 1) * ratio) for i in range(steps))


def ddpm_grid(steps: int, sigma_max: float, sigma_min: float, power: float = 1.0) -> tuple[float, ...]:
    """Levels of the linear DDPM schedule (Ho et al. 2020, sec. 4), t spaced evenly in t^(1/power).

    In continuous time, -log abar(t) = 0.1 t + 9.95 t^2 for t in [0, 1] (beta from 0.1 to 20; Song et al. 2021, app. C)
    and sigma = sqrt((1 - abar) / abar). power 1 is DDRM's spacing; 2 is the "quad" spacing of DiffPIR.

    Raises:
        ParameterError: fewer than one step, or not sigma_max > sigma_min > 0.
    """
    _check(steps, sigma_max, sigma_min)

    def time(sigma: float) -> float:
        return (math.sqrt(0.01 + 39.8 * math.log1p(sigma**2)) - 0.1) / 19.9

    high, low = (time(s) ** (1 / power) for s in (sigma_max, sigma_min))
    times = [(high + i / max(steps - 1, 1) * (low - high)) ** power for i in range(steps)]
    return tuple(math.sqrt(math.expm1(0.1 * t + 9.95 * t * t)) for t in times)


def few_step_sigmas(steps: int, fidelity: float = 1.0, start: float | None = None) -> tuple[float, ...]:
    """The grid for `unified` with few calls: log spacing from about the initial estimate's error to `END`.

    Args:
        steps: calls.
        fidelity: 1 starts at `MEAN_START`, 0 at `SAMPLE_START`, geometrically between.
        start: first level, where the initial estimate is worse than usual (big holes, no colour).
    """
    if start is None:
        start = MEAN_START * (SAMPLE_START / MEAN_START) ** (1.0 - fidelity)
    return log_grid(steps, start, END)


def full_range(steps: int, prior: PriorInfo, sigma_max: float = 40.0, sigma_min: float = 0.01) -> tuple[float, ...]:
    """`poly` over what the prior was trained on, at most 40 to 0.01: the grid of the samplers that start from noise."""
    return poly(steps, min(sigma_max, prior.sigma_max), max(sigma_min, prior.sigma_min))


def _check(steps: int, sigma_max: float, sigma_min: float) -> None:
    if steps < 1:
        raise ParameterError(f"a schedule needs at least one step, not {steps}")
    if not sigma_max > sigma_min > 0:
        raise ParameterError(f"a schedule falls from sigma_max to sigma_min > 0, not from {sigma_max} to {sigma_min}")
