"""The singular value decomposition of a degradation, as functions rather than matrices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Spectrum:
    """A = U S V^T for pictures of one shape, with orthogonal U and V applied by functions.

    Coefficients, of a picture as of a measurement, are always [N, C', H', W'] with as many values a row as the
    *picture* has, so that formulas of the form `singular * to_v(x) - to_u(y)` are elementwise. Where A loses
    information `singular` is zero; `to_u` puts zeros there and `from_u` ignores what stands there. Hence

        from_v(to_v(x)) == x        from_u(to_u(y)) == y        forward(x) == from_u(singular * to_v(x))

    and both `to_v` and (off the null space) `to_u` keep white noise white.

    Attributes:
        singular: singular values >= 0, float32 (move it to the picture's device), broadcastable against the
            coefficients: [1, 1 or C', H', W'], or [N, ...] where the degradation differs from row to row.
        to_v: picture [N, C, H, W] -> V^T x.
        from_v: coefficients -> V c, a picture.
        to_u: measurement -> U^T y, laid out like `to_v`'s answer.
        from_u: coefficients -> U c, a measurement.
    """

    singular: Tensor
    to_v: Callable[[Tensor], Tensor]
    from_v: Callable[[Tensor], Tensor]
    to_u: Callable[[Tensor], Tensor]
    from_u: Callable[[Tensor], Tensor]


def kronecker_spectrum(rows: Tensor, columns: Tensor) -> Spectrum:
    """Spectrum of x -> rows x columns^T from the decompositions of two small dense matrices.

    Args:
        rows: [h, H] with h <= H.
        columns: [w, W] with w <= W.
    """
    left_h, sh, right_h = torch.linalg.svd(rows.double())
    left_w, sw, right_w = torch.linalg.svd(columns.double())
    (h, height), (w, width) = rows.shape, columns.shape
    singular = torch.zeros(1, 1, height, width)
    singular[0, 0, :h, :w] = torch.outer(sh, sw).float()

    def to_u(y: Tensor) -> Tensor:
        out = y.new_zeros(*y.shape[:2], height, width)
        out[..., :h, :w] = left_h.to(y).T @ y @ left_w.to(y)
        return out

    return Spectrum(
        singular=singular,
        to_v=lambda x: right_h.to(x) @ x @ right_w.to(x).T,
        from_v=lambda c: right_h.to(c).T @ c @ right_w.to(c),
        to_u=to_u,
        from_u=lambda c: left_h.to(c) @ c[..., :h, :w] @ left_w.to(c).T,
    )
