"""Large holes: what they hold is decided on a small picture first, detail is added as it is enlarged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import accumulate

import torch
from torch import Tensor
from torch.nn import functional as F

from restore.degradations.mask import Mask
from restore.errors import ParameterError
from restore.sampling.calls import passed_on
from restore.sampling.protocol import DenoiserCall, Problem, Sampling

Solve = Callable[[Problem, Sequence[float]], Sampling]
"""A sampler, with the levels it is to use."""


def coarse_to_fine(problem: Problem, grids: Sequence[Sequence[float]], solve: Solve) -> Sampling:
    """Inpaint a picture halved again and again, each time starting from the answer at half the size.

    A local prior sees no further than its receptive field, and of a large hole's middle it sees only the hole. On a
    small picture the same hole is small. Photographs remain photographs when they are scaled down, so the prior
    serves at every size.

    Args:
        problem: its degradation must be a `Mask`.
        grids: noise levels at each size, the smallest first; one for the picture itself alone is `solve`.
        solve: the sampler at each size; it starts at `Problem.start`, which is the smallest size's if it is given.

    Raises:
        ParameterError: another degradation, or no levels.
    """
    if not isinstance(problem.degradation, Mask):
        raise ParameterError(f"holes are filled in masks, not in {type(problem.degradation).__name__}")
    if not grids:
        raise ParameterError("coarse_to_fine needs noise levels for one size or more")
    sizes = [(problem.y, problem.degradation)]
    for _ in grids[1:]:
        y, mask = sizes[-1]
        sizes.append(mask.halved(y))
    work = [len(levels) * size.numel() for levels, (size, _) in zip(grids, reversed(sizes), strict=True)]
    done = [part / sum(work) for part in accumulate(work, initial=0)]
    total, start = sum(len(levels) for levels in grids), problem.start
    for index, levels in enumerate(grids):
        y, mask = sizes.pop()
        sampling = solve(replace(problem, y=y, degradation=mask, start=start), levels)
        place = partial(
            _within,
            span=(done[index], done[index + 1]),
            before=sum(map(len, grids[:index])),
            steps=total,
        )
        answer = yield from passed_on(sampling, place)
        if sizes:
            start = partial(_enlarged, answer, *sizes[-1])
    return answer


def _within(call: DenoiserCall, span: tuple[float, float], before: int, steps: int) -> DenoiserCall:
    """Counted on from those `before`, of `steps` in all; the calls at one size are `span` of the work."""
    return call.within(*span, before + call.step, steps)


def _enlarged(coarse: Tensor, y: Tensor, mask: Mask) -> Tensor:
    """Twice the size, the known pixels as they are."""
    h, w = y.shape[-2:]
    twice = F.interpolate(coarse, scale_factor=2.0, mode="bicubic", align_corners=False)[..., :h, :w]
    return torch.where(mask.known.to(y.device), y, twice.clamp_(-1.0, 1.0), out=twice)
