"""Inpaint: some pixels are known exactly, the others not at all."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from torch import Tensor

from restore.degradations import Mask
from restore.degradations.noise import GaussianNoise
from restore.errors import ParameterError
from restore.prior.protocol import PriorInfo
from restore.sampling import coarse_to_fine, few_step_sigmas
from restore.sampling.protocol import Problem, Sampling
from restore.tasks.parameters import Parameters
from restore.tasks.plan import Plan, Source
from restore.tasks.trust import by_fidelity

#: Holes need steps (design notes 4.2, lesson v): calls for a picture whose holes are all small, and at every size
#: of one with a large hole.
STEPS, STEPS_A_SIZE = 24, 12
#: How far from what is known, in pixels, an unknown one may be at fidelity 1 and at 0 without anything else being done.
SMALL_MEAN, SMALL_SAMPLE = 16.0, 24.0
#: A picture with a larger hole is filled at half the size first, and so on, until that is no more than this at fidelity
#: 1 and at 0; none has sides below `SMALLEST`. On six pictures of CBSD68, others than the benchmark's, the mean in a
#: hole of 96x96 was 14.43 dB with one size and 14.73 with four, no longer violet; samples gained little by two sizes
#: (LPIPS 0.0867, 0.0849) and lost by more (0.0878, 0.0887), and by two already in a hole of 48x48 (0.0175, 0.0186).
MEAN_REACH, SAMPLE_REACH, SMALLEST = 6.0, 24.0, 32
#: Least share of what is known that is still known after halving.
LEFT = 0.8
#: What is to be known of a mean.
SMOOTH = (
    "a hole is so large that what it held cannot be told from around it: at fidelity 1 it is filled with the mean of "
    "all that could be there, a smooth patch; fidelity 0 shows one of these, with texture"
)
#: First level at every size but the smallest, at fidelity 1 and at 0: of what a size adds to the one before.
MEAN_ADDED, SAMPLE_ADDED = 0.15, 0.5


def inpaint(source: Source, parameters: Parameters, prior: PriorInfo) -> Plan:
    """Fill in what the mask marks; everything else stays exactly as it was, unless `noise` is given."""
    mask = parameters.mask
    if mask is None:
        raise ParameterError("inpaint needs a mask: [H, W], non-zero where the picture is to be filled in")
    height, width = source.image.shape[-2:]
    if tuple(mask.shape[-2:]) != (height, width):
        raise ParameterError(
            f"the mask is {mask.shape[-1]}x{mask.shape[-2]} pixels, the picture {width}x{height}; "
            "give a mask of the same size"
        )
    known = mask.reshape(1, 1, height, width) == 0
    if not bool(known.any()):
        raise ParameterError("the mask covers the whole picture: nothing is left to restore from")
    level = 0.0 if parameters.noise == "auto" else float(parameters.noise)
    fidelity = parameters.effective_fidelity
    reach = deepest(known)
    sizes = 1 + halvings(known, reach, prior.native_size or SMALLEST, fidelity)
    steps = parameters.steps or (STEPS if sizes == 1 else STEPS_A_SIZE * sizes)
    grids = levels(steps, min(sizes, steps), fidelity)

    def sampler(problem: Problem) -> Sampling:
        def solve(size: Problem, sigmas: Sequence[float]) -> Sampling:
            return by_fidelity(fidelity, sigmas)(size)

        return coarse_to_fine(problem, grids, solve)

    return Plan(
        y=source.image,
        degradation=Mask(known, GaussianNoise(level / 127.5)),
        sampler=sampler,
        found={
            "noise": level,
            "filled": round(1.0 - known.float().mean().item(), 4),
            "furthest": reach,
            "sizes": len(grids),
        },
        effective={"steps": steps},
        warnings=(SMOOTH,) if sizes > 1 and fidelity == 1.0 else (),
    )


def deepest(known: Tensor) -> float:
    """How far an unknown pixel is from the nearest known one, at most, in pixels (along the nearer axis).

    Args:
        known: [1, 1, H, W] bool.
    """
    holes = (~known)[0, 0].cpu().numpy().astype(np.uint8)
    return float(cv2.distanceTransform(holes, cv2.DIST_C, 3).max())


def halvings(known: Tensor, reach: float, smallest: int, fidelity: float) -> int:
    """How often a picture is halved: until its widest hole is narrow, or the picture small, or until of what is known,
    scattered as it may be, too little would be left.

    Args:
        known: [1, 1, H, W] bool.
        reach: its `deepest`.
        smallest: that no picture's shorter side is below.
        fidelity: in [0, 1].
    """
    if reach <= between(SMALL_MEAN, SMALL_SAMPLE, fidelity):
        return 0
    share, mask, count = known.float().mean(), Mask(known), 0
    while reach > between(MEAN_REACH, SAMPLE_REACH, fidelity) and min(mask.known.shape[-2:]) >= 2 * smallest:
        _, mask = mask.halved(mask.known.float())
        if mask.known.float().mean() < LEFT * share:
            break
        reach, count = reach / 2.0, count + 1
    return count


def levels(steps: int, sizes: int, fidelity: float) -> list[tuple[float, ...]]:
    """Noise levels at every size, the smallest first, `steps` in all."""
    added = between(MEAN_ADDED, SAMPLE_ADDED, fidelity)
    first = steps - (sizes - 1) * (steps // sizes)
    return [
        few_step_sigmas(first if size == 0 else steps // sizes, fidelity, start=1.0 if size == 0 else added)
        for size in range(sizes)
    ]


def between(mean: float, sample: float, fidelity: float) -> float:
    """From what is right for a sample (fidelity 0) to what is for a mean (1), geometrically."""
    return float(mean * (sample / mean) ** (1.0 - fidelity))
