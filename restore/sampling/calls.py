"""What every sampler needs to ask the prior and to read the measurement, one row at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from restore.degradations.base import Degradation, LinearDegradation
from restore.errors import ParameterError
from restore.sampling.protocol import DenoiserCall, Problem, Sampling


def ask(x: Tensor, sigma: float, step: int, steps: int, *, differentiate: bool = False) -> DenoiserCall:
    """A call with one sigma for all rows."""
    return DenoiserCall(x, x.new_full((x.shape[0],), sigma), step, steps, differentiate)


def passed_on(sampling: Sampling, change: Callable[[DenoiserCall], DenoiserCall]) -> Sampling:
    """The same calls and result, each call changed on its way; the sampler is closed in the end.

    Args:
        sampling: a fresh generator of calls.
        change: gives each call another number, say; its picture must stay as it is.
    """
    try:
        call = next(sampling)
        while True:
            changed = change(call)
            del call  # a large picture's memory, needed while the prior works
            x0 = yield changed
            del changed
            call = sampling.send(x0)
            del x0
    except StopIteration as stop:
        x: Tensor = stop.value
        return x
    finally:
        sampling.close()


def transitions(sigmas: Sequence[float]) -> Iterator[tuple[int, float, float]]:
    """(step, sigma, next sigma), the last next one being 0.

    Raises:
        ParameterError: the levels do not fall strictly, or are not positive.
    """
    levels = [*sigmas, 0.0]
    if len(levels) < 2 or any(a <= b for a, b in pairwise(levels)):
        raise ParameterError("the noise levels of a schedule must be positive and strictly decreasing")
    return ((i, a, b) for i, (a, b) in enumerate(pairwise(levels)))


def variance(problem: Problem, x: Tensor, sigma: float) -> Tensor:
    """v(sigma) of the prior, [N]; where nobody measured a network's, that it was assumed is noted."""
    if problem.prior.error_table is None and problem.prior.runtime:
        said = (
            f"nobody has measured the error of the prior {problem.prior.name!r}; that of a white Gaussian one was "
            "assumed, which weighs it worse against the picture; pellucid models measure (or add) measures it"
        )
        if said not in problem.assumed:
            problem.assumed.append(said)
    return problem.prior.variance(x.new_full((x.shape[0],), sigma))


def noisy_start(problem: Problem, sigma: float, scale: float = 1.0) -> Tensor:
    """Initial estimate, or what is known better, + scale * sigma * noise [N, C, H, W]."""
    x = problem.degradation.initial_estimate(problem.y).x if problem.start is None else problem.start()
    return problem.noise.like(x).mul_(scale * sigma).add_(x) if scale > 0 else x


def linear(problem: Problem, sampler: str) -> LinearDegradation:
    """The degradation, if it is linear.

    Raises:
        ParameterError: it is not.
    """
    if not isinstance(problem.degradation, LinearDegradation):
        raise ParameterError(
            f"{sampler} needs a linear degradation, which {type(problem.degradation).__name__} is not; use 'unified'"
        )
    return problem.degradation


def row_noise_level(problem: Problem, sampler: str) -> Tensor:
    """Standard deviation of the measurement's noise, [N, 1, 1, 1].

    Raises:
        ParameterError: it differs within a row.
    """
    level = problem.degradation.noise.variance(problem.y).sqrt()
    if level.ndim != 1:
        raise ParameterError(f"{sampler} needs noise of one level a picture, not one per pixel; use 'unified'")
    return level.view(-1, 1, 1, 1)


def data_gradient(degradation: Degradation, x: Tensor, y: Tensor) -> Tensor:
    """Gradient of |A(x) - y|^2 / 2 with respect to x, through the degradation only."""
    if isinstance(degradation, LinearDegradation):
        return degradation.adjoint(degradation.forward(x) - y)
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        misfit = 0.5 * (degradation.forward(x) - y).square().sum()
        (gradient,) = torch.autograd.grad(misfit, x)
    return gradient


def check_fraction(**values: float) -> None:
    """Raises:
    ParameterError: a value outside [0, 1].
    """
    for name, value in values.items():
        if not 0.0 <= value <= 1.0:
            raise ParameterError(f"{name} must lie between 0 and 1, not {value}")
