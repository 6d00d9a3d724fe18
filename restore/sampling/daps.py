"""DAPS: decoupled annealing, each level drawing the picture anew."""

from __future__ import annotations

from collections.abc import Sequence

from restore.errors import ParameterError
from restore.sampling.calls import ask, linear, noisy_start, row_noise_level, transitions, variance
from restore.sampling.protocol import Problem, Sampling
from restore.sampling.schedules import full_range, poly


def daps(
    problem: Problem, sigmas: Sequence[float] | None = None, *, ode_steps: int = 5, ode_end: float = 0.01
) -> Sampling:
    """Zhang et al. 2025, "Improving Diffusion Inverse Problem Solving with Decoupled Noise Annealing", alg. 1.

    At each level, Euler steps of the probability-flow ODE down to `ode_end` give x0; a picture is drawn from
    N(x0, r^2 I) times the likelihood; noise of the next level is added to it. Two departures: the paper draws with 100
    Langevin steps, but for a linear A the draw is exact and costs one data step, the posterior mean around x0 + r z
    given y + sigma_y z' (Papandreou and Yuille 2010); and r^2 is v(sigma), the prior's error, instead of sigma^2, which
    over-disperses. The last level returns the mean instead of a draw.

    Args:
        problem: linear degradation, Gaussian noise of one level a row.
        sigmas: None for 200 levels from 100 to 0.1 (paper) within the prior's range.
        ode_steps: 5 (paper). With 1, x0 is the posterior mean given x and the draw is calibrated: on a Gaussian prior
            variance 1.0 of the exact one, against 1.1 to 1.7 with 5.
        ode_end: 0.01 (paper), or half the level where that is lower.

    Makes len(sigmas) * ode_steps calls.

    Raises:
        ParameterError: a non-linear degradation, noise that differs within a row, or ode_steps below 1.
    """
    if ode_steps < 1:
        raise ParameterError(f"the ODE needs at least one step, not {ode_steps}")
    levels = full_range(200, problem.prior, 100.0, 0.1) if sigmas is None else tuple(sigmas)
    schedule = transitions(levels)
    degradation, noise = linear(problem, "daps"), row_noise_level(problem, "daps")
    y = problem.y
    noise = noise.view(-1, *[1] * (y.ndim - 1))
    x, call, calls = noisy_start(problem, levels[0]), 0, len(levels) * ode_steps
    for _, sigma, t in schedule:
        v = variance(problem, x, sigma)
        inner = poly(ode_steps, sigma, min(ode_end, sigma / 2)) if ode_steps > 1 else (sigma,)
        for _, s, below in transitions(inner):
            d = yield ask(x, s, call, calls)
            x = d + below / s * (x - d)
            call += 1
        if t == 0.0:
            break
        around = x + v.sqrt().view(-1, 1, 1, 1) * problem.noise.like(x)
        drawn = degradation.gain_step(around, y + noise * problem.noise.like(y), v)
        x = drawn + t * problem.noise.like(x)
    return degradation.gain_step(x, y, v)
