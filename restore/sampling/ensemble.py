"""Pure denoising, averaged over flips and quarter turns of the picture."""

from __future__ import annotations

import torch
from torch import Tensor

from restore.errors import ParameterError
from restore.sampling.calls import row_noise_level
from restore.sampling.protocol import DenoiserCall, Problem, Sampling

#: Symmetries of the square.
ORIENTATIONS = 8


def self_ensemble(problem: Problem, *, steps: int = ORIENTATIONS) -> Sampling:
    """y = x + white Gaussian noise: the mean of the posterior means of y as it is, flipped and turned.

    Photographs are about as likely either way up, so an exact prior would give the same answer each time; a network's
    errors differ and partly average out (Timofte et al. 2016, "Seven ways to improve example-based single image
    super resolution", section 3.6).

    Args:
        problem: y shaped as a picture, A the identity.
        steps: orientations used, 1 to 8, the picture itself first; one call each.

    Raises:
        ParameterError: steps out of range, or noise that differs within a row.
    """
    if not 1 <= steps <= ORIENTATIONS:
        raise ParameterError(f"a picture has {ORIENTATIONS} orientations: steps must lie between 1 and 8, not {steps}")
    level = row_noise_level(problem, "self_ensemble").flatten()
    total = upright((yield DenoiserCall(problem.y, level, 0, steps)), 0)
    for orientation in range(1, steps):
        answer = yield DenoiserCall(oriented(problem.y, orientation), level, orientation, steps)
        total.add_(upright(answer, orientation))
        del answer
    return total.div_(steps) if steps > 1 else total


def oriented(x: Tensor, orientation: int) -> Tensor:
    """x [N, C, H, W] turned by 90 degrees `orientation` % 4 times, and from 4 on mirrored first."""
    mirrored = x.flip(-1) if orientation >= 4 else x
    return torch.rot90(mirrored, orientation % 4, (-2, -1)).contiguous()


def upright(x: Tensor, orientation: int) -> Tensor:
    """The inverse of `oriented`."""
    back = torch.rot90(x, -(orientation % 4), (-2, -1))
    return back.flip(-1) if orientation >= 4 else back
