"""DDNM+: the measurement fixes the range space as far as its noise allows, the prior fills the null space."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from restore.errors import ParameterError
from restore.sampling.calls import ask, linear, row_noise_level, transitions
from restore.sampling.protocol import Problem, Sampling
from restore.sampling.schedules import full_range


def ddnm(
    problem: Problem, sigmas: Sequence[float] | None = None, *, travel_length: int = 1, repeats: int = 1
) -> Sampling:
    """Wang et al. 2023, "Zero-Shot Image Restoration Using Denoising Diffusion Null-Space Model", DDNM+, eqs. 17-19.

    DDPM's step from level sigma to t is x' = a x0 + (1 - a) x + e z with a = 1 - t^2 / sigma^2 and e^2 = a t^2 (Ho et
    al. 2020, eq. 7, variance exploding). x0 is D's answer with a share l of the gap to the measurement closed, per
    singular value s, and z gives way to the noise a l n, n = sigma_y / s, that the measurement brings along:

        l = min(1, e / (a n)),      x' = a (d + l (y - d)) + (1 - a) x + sqrt(e^2 - (a l n)^2) z.

    Time travel (sec. 3.3, after RePaint): blocks of `travel_length` steps are done `repeats` times,
    re-noised in between.

    Args:
        problem: linear degradation with a `spectrum`, noise of one level a row.
        sigmas: None for 100 levels (the paper's number of calls) over the prior's range.
        travel_length: steps in a block; the paper uses up to 10.
        repeats: of each block; 1 does without time travel, the paper uses up to 3 for large holes.

    Makes len(sigmas) calls, times `repeats` for those in full blocks.

    Raises:
        ParameterError: no spectrum, noise that differs within a row, or a travel below 1.
    """
    if travel_length < 1 or repeats < 1:
        raise ParameterError(f"time travel needs length and repeats of at least 1, not {travel_length} and {repeats}")
    levels = full_range(100, problem.prior) if sigmas is None else tuple(sigmas)
    steps = list(transitions(levels))
    # The last level is not travelled: there is no noise to come back from.
    blocks = [steps[:-1][i : i + travel_length] for i in range(0, len(steps) - 1, travel_length)]
    path = [t for block in blocks for t in block * (repeats if len(block) == travel_length else 1)] + steps[-1:]
    degradation, noise = linear(problem, "ddnm"), row_noise_level(problem, "ddnm")
    basis = degradation.spectrum(degradation.image_shape(problem.y))
    seen, n = basis.singular > 0, noise / basis.singular.clamp(min=1e-20)
    y = basis.to_u(problem.y) / basis.singular.clamp(min=1e-20)
    x = levels[0] * problem.noise.like(basis.from_v(y))
    level = levels[0]
    for call, (_, sigma, t) in enumerate(path):
        if sigma > level:
            x = x + (sigma**2 - level**2) ** 0.5 * problem.noise.like(x)
        answer = yield ask(x, sigma, call, len(path))
        a = 1.0 - (t / sigma) ** 2
        e = a**0.5 * t
        share = torch.where(a * n <= e, 1.0, e / (a * n).clamp(min=1e-20)) * seen
        d, z = basis.to_v(answer), basis.to_v(problem.noise.like(x))
        spread = (e**2 - (a * share * n) ** 2).clamp(min=0).sqrt()
        x = (1.0 - a) * x + basis.from_v(a * (d + share * (y - d)) + spread * z)
        level = t
    return x
