"""The default sampler: denoise, correct with the exact data step, re-noise as much as the fidelity asks for."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from restore.sampling.calls import ask, check_fraction, noisy_start, transitions, variance
from restore.sampling.protocol import Problem, Sampling
from restore.sampling.schedules import few_step_sigmas


def unified(
    problem: Problem,
    sigmas: Sequence[float] | None = None,
    *,
    fidelity: float = 1.0,
    stochasticity: float = 0.3,
    extrapolation: float = 0.5,
    inflation: float = 0.0,
    slack: float = 1.0,
) -> Sampling:
    """One loop that holds annealed half-quadratic splitting (fidelity 1) and posterior sampling (fidelity 0).

    From level s to the next level t, with kappa = 1 - fidelity and zeta = stochasticity:

        d  = D(x, s (1 + inflation))
        x0 = posterior mean of N(d, v(s) I) N(y; A ., noise)          (the degradation's gain step)
        x  = x0 + b (x0 - previous x0) + kappa t (sqrt(1 - zeta) (x - x0) / s + sqrt(zeta) z)

    v(s) is the prior's own error: with v = s^2 / lambda the loop is DiffPIR (Zhu et al. 2023), with v = s^2 / (1 + s^2)
    Type-II guidance (Peng et al. 2024), with kappa = 0 and no extrapolation DPIR (Zhang et al. 2021).
    The measured v(s) is what makes it calibrated: on a Gaussian prior with exact answer, four times too large a v costs
    15 to 30 % more error, and the prior's own v needs no correction at kappa = 0 although x is then less noisy than s.

    Starts from the degradation's initial estimate plus kappa s noise; returns x0 after the last data step. Works with
    any degradation. Makes len(sigmas) calls.

    Args:
        problem: what to restore.
        sigmas: strictly decreasing levels; None for `few_step_sigmas(8, fidelity)`.
        fidelity: in [0, 1]. At 1 no random number is drawn.
        stochasticity: in [0, 1], share of fresh noise; 0.3 from DiffPIR. Without effect at fidelity 1.
        extrapolation: b at fidelity 1; b = extrapolation * fidelity, for it shortens the way to the mean but inflates
            the variance of samples. 0.5 lowers the excess error of random inpainting from 17 to 7 % in 8 calls
            (same oracle).
        inflation: of the level the prior is told (Garber and Tirer 2024, "CM4IR"); 0: up to 0.2 gained
            nothing on that oracle.
        slack: factor on v(s). A network's error is not white, and without re-noising x is not the clean picture plus
            white noise of level s: what it gets wrong gathers where the measurement is weak, and v(s) then trusts it
            too much. 1 is right for an exact Gaussian prior; the tasks say what is right for a network.

    Raises:
        ParameterError: a knob out of range, or levels that do not fall.
    """
    check_fraction(fidelity=fidelity, stochasticity=stochasticity)
    levels = few_step_sigmas(8, fidelity) if sigmas is None else tuple(sigmas)
    kappa, ahead = 1.0 - fidelity, extrapolation * fidelity
    kept, fresh = math.sqrt(1.0 - stochasticity), math.sqrt(stochasticity)
    previous: Tensor | None = None
    schedule = transitions(levels)
    x = noisy_start(problem, levels[0], kappa)
    # Of a large picture nothing is held longer than it is needed.
    for step, sigma, following in schedule:
        d = yield ask(x, sigma * (1.0 + inflation), step, len(levels))
        v = slack * variance(problem, x, sigma)
        x, noisy = d, (x if kappa > 0.0 else None)
        del d
        x0 = problem.degradation.gain_step(x, problem.y, v)
        if following == 0.0:
            return x0
        guess = x0 if previous is None else torch.lerp(previous, x0, 1.0 + ahead)
        if noisy is not None:
            stays = kappa * following * kept / sigma
            noise = problem.noise.like(noisy).mul_(kappa * following * fresh)
            guess = noise.add_(noisy, alpha=stays).sub_(x0, alpha=stays).add_(guess)
        x, previous = guess, (x0 if ahead > 0.0 else None)
        del guess, noisy, x0
    raise AssertionError("the last level is followed by zero")
