"""Preconditioned conjugate gradients on many rows at once, each row for itself."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from restore.degradations.gain import noise_diagonal, per_row

Operator = Callable[[Tensor], Tensor]

#: Root mean squared error, in the picture's units ([-1, 1]), at which a data step counts as solved: 0.003 grey levels.
ACCURACY = 2e-5


def _dot(a: Tensor, b: Tensor) -> Tensor:
    # Line by line, so that no picture of products is made.
    lines = torch.einsum("...w,...w->...", a, b).view(a.shape[0], -1)
    return lines.sum(1, dtype=torch.float64 if a.device.type != "mps" else None)


def conjugate_gradient(
    apply: Operator,
    b: Tensor,
    *,
    precondition: Operator | None = None,
    energy: Tensor | None = None,
    relative: float = 1e-7,
    iterations: int = 200,
) -> tuple[Tensor, int]:
    """Solve K x = b for a symmetric positive definite K (Hestenes and Stiefel 1952; Saad 2003, algorithm 9.1).

    A row stops changing once its residual satisfies r^T M^-1 r <= max(energy, relative^2 b^T M^-1 b); for a good
    preconditioner M the left side is the squared error of x in the norm of K. Rows share the loop and nothing else.

    Args:
        apply: x [R, ...] -> K x, row by row.
        b: [R, ...].
        precondition: r -> M^-1 r, symmetric positive definite; the identity by default.
        energy: [R] absolute tolerance; none by default.
        relative: tolerance relative to b.
        iterations: at most so many.

    Returns:
        x shaped as b, and the number of iterations made.
    """
    x = torch.zeros_like(b)
    r = b.clone()
    z = precondition(r) if precondition is not None else r
    p = z.clone()
    rz = _dot(r, z)
    del z
    target = rz * relative**2
    if energy is not None:
        target = torch.maximum(target, energy.to(target))
    for done in range(iterations):
        active = rz > target
        if not bool(active.any()):
            return x, done
        kp = apply(p)
        curvature = _dot(p, kp)
        # A non-positive curvature is rounding: this row has reached what the arithmetic can give.
        active = active & (curvature > 0)
        alpha = torch.where(active, rz / curvature, 0.0)
        step = per_row(alpha.to(b.dtype), b)
        x.addcmul_(step, p)
        r.addcmul_(step, kp, value=-1)
        del kp  # of large pictures every one counts
        z = precondition(r) if precondition is not None else r
        fresh = _dot(r, z)
        beta = torch.where(active, fresh / rz.clamp_min(1e-300), 0.0)
        p.mul_(per_row(beta.to(b.dtype), b)).add_(z)
        del z
        rz = torch.where(active, fresh, 0.0)
    return x, iterations


def solve_gain(
    gram: Operator,
    r: Tensor,
    noise_variance: Tensor,
    v: Tensor,
    *,
    largest: float,
    precondition: Callable[[Tensor, Tensor], Tensor] | None = None,
    double: bool = True,
    iterations: int = 200,
) -> Tensor:
    """w = (S + v A A^T)^-1 r by conjugate gradients.

    The stopping rule is in the picture's units: v ||A^T e|| <= sqrt(v e^T K e) for an error e of w, so the data step
    d + v A^T w is off by at most `ACCURACY` (RMS) once e^T K e is below values * ACCURACY^2 / v.

    Args:
        gram: A A^T, on float32 and, if `double`, float64.
        r: [N, ...].
        noise_variance: [N] or shaped as r.
        v: [N].
        largest: (bound on the) largest eigenvalue of A A^T.
        precondition: (residual, S as [N, 1, ...] or shaped as r) -> approximate solution; by default
            r / (S + v largest).
        double: whether ill-conditioned systems (S < 1e-4 v largest) may be solved in float64.
        iterations: at most so many.
    """
    s = noise_diagonal(noise_variance, v, largest, r)
    spread = per_row(v.to(r), r)
    ill = bool((s < 1e-4 * largest * spread).any())
    dtype = torch.float64 if double and ill and r.device.type != "mps" else r.dtype
    s, spread, b = s.to(dtype), spread.to(dtype), r.to(dtype)
    diagonal = s + largest * spread

    def apply(w: Tensor) -> Tensor:
        return (spread * gram(w)).addcmul_(s, w)

    def approximate(residual: Tensor) -> Tensor:
        return residual / diagonal if precondition is None else precondition(residual, s)

    energy = (r[0].numel() * ACCURACY**2) / v.double().clamp_min(1e-12)
    w, _ = conjugate_gradient(apply, b, precondition=approximate, energy=energy, iterations=iterations)
    return w.to(r.dtype)
