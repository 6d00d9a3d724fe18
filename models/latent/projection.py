"""Back-projection: the nearest picture that shrinks to the one that was measured."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

SCALE = 4


@lru_cache(maxsize=16)
def _matrices(small: int) -> tuple[Tensor, Tensor]:
    """The antialiased bicubic reduction of one axis as a matrix [small, SCALE small], and its pseudo-inverse."""
    identity = torch.eye(SCALE * small)[None, None]
    forward = F.interpolate(identity, (small, SCALE * small), mode="bicubic", antialias=True)[0, 0].double()
    # Well conditioned: the reduction's rows overlap little. A A^T is banded and small.
    inverse = torch.linalg.solve(forward @ forward.T, forward).T
    return forward.float(), inverse.float()


def shrink(x: Tensor) -> Tensor:
    """Antialiased bicubic reduction by four: x [N, C, 4 h, 4 w] -> [N, C, h, w]."""
    height, width = x.shape[2] // SCALE, x.shape[3] // SCALE
    down, across = _matrices(height)[0].to(x), _matrices(width)[0].to(x)
    return down @ x @ across.T


def project(x: Tensor, small: Tensor) -> Tensor:
    """x + A^+ (small - A x): of all pictures that `shrink` (A) to `small`, the one nearest to x.

    What A cannot see of x, its detail, stays; its low frequencies, and so its colours, become the small picture's
    (Wang et al. 2023, "DDNM", eq. 9). A is separable, A^+ = A_h^+ . (A_w^+)^T is exact.

    Args:
        x: [N, C, 4 h, 4 w].
        small: [N, C, h, w].
    """
    down, across = _matrices(small.shape[2])[1].to(x), _matrices(small.shape[3])[1].to(x)
    return x + down @ (small - shrink(x)) @ across.T


def project_bounded(x: Tensor, small: Tensor, rounds: int = 20) -> Tensor:
    """The same within [-1, 1], by alternating projections; exact where the small picture allows it.

    Args:
        x: see `project`.
        small: see `project`; in [-1, 1].
        rounds: of both projections.
    """
    for _ in range(rounds):
        x = project(x, small).clamp(-1.0, 1.0)
        if float((shrink(x) - small).abs().max()) < 1.0 / 510.0:
            break
    return x
