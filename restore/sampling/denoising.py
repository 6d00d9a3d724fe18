"""Pure denoising, where the prior alone holds the exact answer and no data step is needed."""

from __future__ import annotations

from torch import Tensor

from restore.degradations.identity import Identity
from restore.errors import ParameterError
from restore.sampling.calls import check_fraction, row_noise_level
from restore.sampling.protocol import DenoiserCall, Problem, Sampling
from restore.sampling.schedules import log_grid

#: First and last level of the sampling grid in units of the picture's noise; best of a sweep on a Gaussian prior
#: (posterior variance reached with 8 calls: 0.68; with 20: 0.77).
START, END = 2.0, 0.3


def denoise_posterior(
    problem: Problem, *, steps: int = 1, fidelity: float = 1.0, stochasticity: float = 0.3
) -> Sampling:
    """y = x + white Gaussian noise: the posterior mean in one call, or a posterior sample in `steps` calls.

    The posterior mean is D(y, sigma_y) by definition, so at fidelity 1 there is one call whatever `steps`, and a data
    step would count y twice. For a sample, a reverse process is started at that mean, re-noised independently of y to
    a level s; its exact denoiser joins both observations before the network (arXiv 2506.13614):

        E[x0 | x, y] = D(e^2 (x / s^2 + y / sigma_y^2), e),        e^-2 = s^-2 + sigma_y^-2.

    In between, mean + (1 - fidelity) (sample - mean): straight lines from the posterior mean are optimal in the
    distortion-perception plane (Freirich et al. 2021), with squared error 1 + (1 - fidelity)^2 times the
    least one. One call is always the mean.

    Args:
        problem: y shaped as a picture, A the identity; the noise may differ from row to row, not within one.
        steps: calls; above 1 only used when fidelity < 1.
        fidelity: in [0, 1].
        stochasticity: in [0, 1], share of fresh noise in each re-noising (DiffPIR's zeta, 0.3).

    Raises:
        ParameterError: a knob out of range, or noise that differs within a row, or none at all.
    """
    check_fraction(fidelity=fidelity, stochasticity=stochasticity)
    if steps < 1:
        raise ParameterError(f"denoising takes at least one step, not {steps}")
    y, level = problem.y, row_noise_level(problem, "denoise_posterior")
    if not isinstance(problem.degradation, Identity):
        raise ParameterError(
            f"denoise_posterior undoes noise only, not {type(problem.degradation).__name__}; use 'unified'"
        )
    if not bool((level > 0).all()):
        raise ParameterError("the noise level is zero: there is nothing to denoise")
    kappa = 1.0 - fidelity
    total = steps if kappa > 0.0 else 1
    mean: Tensor = yield DenoiserCall(y, level.flatten(), 0, total)
    if total == 1:
        return mean
    grid = (*log_grid(total - 1, START, END), 0.0)
    x = problem.noise.like(y).mul_(grid[0] * level).add_(mean)
    for step, s, t in zip(range(1, total), grid, grid[1:], strict=False):
        share = s * s / (1.0 + s * s)  # e^2 / sigma_y^2; s counts in units of sigma_y
        sample = yield DenoiserCall(x.lerp(y, share), level.flatten() * share**0.5, step, total)
        if t == 0.0:
            break
        stays = t / s * (1.0 - stochasticity) ** 0.5
        noise = problem.noise.like(y).mul_(t * stochasticity**0.5 * level)
        x = noise.add_(x, alpha=stays).add_(sample, alpha=1.0 - stays)
    return mean.lerp(sample, kappa)
