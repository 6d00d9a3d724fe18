"""PiGDM: pseudo-inverse guidance, the gain step pulled back through the network."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from restore.sampling.calls import ask, check_fraction, linear, noisy_start, transitions, variance
from restore.sampling.protocol import Problem, Sampling
from restore.sampling.schedules import full_range


def pigdm(problem: Problem, sigmas: Sequence[float] | None = None, *, eta: float = 0.55) -> Sampling:
    """Song et al. 2023, "Pseudoinverse-Guided Diffusion Models for Inverse Problems", alg. 1.

        g  = (dD/dx)^T A^T (v A A^T + S)^-1 (y - A d)         (one vector-Jacobian product; S is the noise's covariance)
        x0 = d + sigma^2 g                                    (Tweedie's formula with the guided score)
        x' = x0 + t (sqrt(1 - eta^2) (x - x0) / sigma + eta z)                         (DDIM)

    v is the prior's error where the paper has sigma^2 / (1 + sigma^2), the error under a white prior of variance 1.

    Args:
        problem: linear degradation.
        sigmas: None for 100 levels (the paper's number of calls) over the prior's range. With very few the
            Jacobian can make the step expand instead of contract; `unified` does without it.
        eta: 0.55, the square root of DiffPIR's zeta; the paper's is 1, which on a Gaussian prior keeps half of
            the posterior's variance in 100 calls (0.55 keeps 0.86).

    Makes len(sigmas) calls, all differentiated.

    Raises:
        ParameterError: a non-linear degradation, or eta out of range.
    """
    check_fraction(eta=eta)
    levels = full_range(100, problem.prior) if sigmas is None else tuple(sigmas)
    schedule = transitions(levels)
    degradation = linear(problem, "pigdm")
    x = noisy_start(problem, levels[0])
    for step, sigma, t in schedule:
        x = x.detach().requires_grad_()
        d = yield ask(x, sigma, step, len(levels), differentiate=True)
        predicted = degradation.forward(d.detach())
        w = degradation.solve(problem.y - predicted, degradation.noise.variance(predicted), variance(problem, x, sigma))
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad((d * degradation.adjoint(w)).sum(), x)
        x, x0 = x.detach(), d.detach() + sigma**2 * gradient
        x = x0 + t * ((1.0 - eta**2) ** 0.5 * (x - x0) / sigma + eta * problem.noise.like(x))
    return x
