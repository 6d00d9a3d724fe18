"""Small pieces that every gain solve shares: broadcasting variances, keeping them off zero, expected errors."""

from __future__ import annotations

import torch
from torch import Tensor

#: A noise-free measurement is treated as if its noise had this share of the signal's variance. Dividing by
#: S + v s^2 amplifies the float32 rounding of the residual by at most sqrt(1 / FLOOR) / 2; the answer of a
#: well-conditioned operator changes by this share only.
FLOOR = 1e-9


def per_row(values: Tensor, like: Tensor) -> Tensor:
    """[N] -> [N, 1, 1, ...], ready to broadcast against `like` [N, ...]; anything else is returned as it is."""
    return values.view(-1, *[1] * (like.ndim - 1)) if values.ndim == 1 else values


def once(values: Tensor) -> Tensor:
    """Values that were expanded along some axes, only once along these: broadcastable to their former shape."""
    return values[tuple(slice(1) if step == 0 else slice(None) for step in values.stride())]


def noise_diagonal(noise_variance: Tensor, v: Tensor, largest: float, r: Tensor) -> Tensor:
    """S's diagonal, broadcastable against r, never below `FLOOR` times the largest eigenvalue of v A A^T.

    Args:
        noise_variance: [N] or shaped as r.
        v: [N].
        largest: largest eigenvalue of A A^T, or a bound on it.
        r: a measurement.
    """
    floor = (FLOOR * largest * per_row(v, r)).clamp_min(1e-30)
    return torch.maximum(per_row(noise_variance.to(r), r), floor.to(r))


def row_mean(noise_variance: Tensor) -> Tensor:
    """[N]: one variance a row, the mean where it differs from value to value."""
    return noise_variance if noise_variance.ndim == 1 else noise_variance.flatten(1).mean(1)


def posterior_rms(gram: Tensor, values: int, noise_variance: Tensor, prior_variance: float) -> Tensor:
    """[N], sqrt(trace of the posterior covariance / values) under the prior N(0, prior_variance I).

    The trace of (I / p + A^T S^-1 A)^-1 with S = s I is p (n - sum_i p g_i / (s + p g_i)), g the eigenvalues of A A^T.

    Args:
        gram: eigenvalues of A A^T, any shape.
        values: n, number of values of the picture that those eigenvalues speak of.
        noise_variance: [N] or shaped as the measurement (its mean is used).
        prior_variance: p.
    """
    signal = prior_variance * gram.to(torch.float32).clamp_min(0.0)
    errors = []
    for s in row_mean(noise_variance).tolist():
        learned = (signal / (signal + max(s, 1e-12))).sum(dtype=torch.float64) / values
        errors.append((prior_variance * (1.0 - learned)).clamp_min(0.0).sqrt())
    return torch.stack(errors).to(torch.float32)
