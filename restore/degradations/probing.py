"""What can be learned of an operator by applying it to random pictures."""

from __future__ import annotations

import torch
from torch import Tensor

from restore.degradations.base import LinearDegradation
from restore.degradations.gain import per_row


def _probe(like: Tensor, rows: int) -> Tensor:
    """Independent signs, the same for every call, shaped as one row of `like`, repeated."""
    generator = torch.Generator().manual_seed(0)
    signs = torch.randint(0, 2, (1, *like.shape[1:]), generator=generator).to(like.device, torch.float32) * 2.0 - 1.0
    return signs.expand(rows, *like.shape[1:])


def largest_eigenvalue(degradation: LinearDegradation, y: Tensor, iterations: int = 8) -> float:
    """A safe guess (power iteration times 1.2) of the largest eigenvalue of A A^T at measurements shaped as y."""
    w = _probe(y, y.shape[0]).contiguous()
    value = torch.zeros(y.shape[0], device=y.device)
    for _ in range(iterations):
        norm = w.flatten(1).norm(dim=1).clamp_min(1e-30)
        w = degradation.forward(degradation.adjoint(w / per_row(norm, w)))
        value = w.flatten(1).norm(dim=1)
    return max(1.2 * float(value.max()), 1e-12)


def probed_error(degradation: LinearDegradation, y: Tensor) -> Tensor:
    """[N], sqrt(trace of the posterior covariance / values) under the degradation's white prior.

    The trace of p I - p^2 A^T (S + p A A^T)^-1 A is estimated as z^T (.) z with one vector z of random signs
    (Hutchinson 1990); its relative error is about sqrt(2 / values).
    """
    p = degradation.prior_variance
    n, c, h, w = degradation.image_shape(y)
    z = _probe(torch.empty(1, c, h, w, device=y.device), n)
    v = torch.full((n,), p, device=y.device)
    seen = degradation.forward(z)
    explained = (seen * degradation.solve(seen, degradation.noise.variance(y), v)).flatten(1).sum(1)
    return (p * (1.0 - p * explained / z[0].numel())).clamp_min(0.0).sqrt()
