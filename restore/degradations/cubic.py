"""MATLAB's bicubic resampling by integer factors, along one axis at a time.

Conventions of `imresize`: Keys' cubic with a = -1/2; for a reduction the kernel is stretched by the factor
(antialiasing) and its weights are normalised; output i lies at the centre of its block of input samples; borders are
half-sample symmetric; a length n becomes ceil(n / s).
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from restore.degradations.borders import extend, fold
from restore.degradations.cosine import dct, idct
from restore.degradations.cosine_form import aliases, frequency_response
from restore.degradations.gain import per_row
from restore.degradations.planes import by_planes
from restore.errors import ParameterError

#: Longest axis (of the measurement) whose Gram matrix is decomposed densely, O(length^3), where the scale does not
#: divide the picture's side: half a second at 1024 on one core. Longer ones are left to conjugate gradients.
DENSE_LIMIT = 1024
#: Longest axis of a picture that is reduced and expanded by a matrix: a few operations instead of some dozens.
MATRIX_LIMIT = 512


def cubic(t: Tensor) -> Tensor:
    """Keys' cubic convolution kernel with a = -1/2 (Keys 1981, eq. 15), zero from |t| = 2 on."""
    t = t.abs()
    near = (1.5 * t - 2.5) * t.square() + 1.0
    far = ((-0.5 * t + 2.5) * t - 4.0) * t + 2.0
    return torch.where(t <= 1.0, near, torch.where(t < 2.0, far, 0.0))


@lru_cache(maxsize=16)
def taps(scale: int) -> tuple[int, tuple[float, ...]]:
    """Filter of the reduction by `scale`: position of its first tap relative to i * scale, and its weights (sum 1).

    Output i lies at u = (i + 1/2) s - 1/2 of the input; weights are cubic((u - j) / s), normalised.
    """
    centre = (scale - 1) / 2
    first = math.floor(centre - 2 * scale) + 1
    last = math.ceil(centre + 2 * scale) - 1
    weights = cubic((centre - torch.arange(first, last + 1, dtype=torch.float64)) / scale)
    weights = weights / weights.sum()
    return first, tuple(weights.tolist())


def _overhang(length: int, scale: int) -> tuple[int, int, int]:
    """Number of outputs, and how far the filter reaches beyond the first and the last sample."""
    first, weights = taps(scale)
    count = -(-length // scale)
    last = (count - 1) * scale + first + len(weights) - 1
    return count, max(-first, 0), max(last - (length - 1), 0)


def reduce(x: Tensor, dim: int, scale: int) -> Tensor:
    """Antialiased bicubic reduction along one axis, length -> ceil(length / scale)."""
    if _short(x, dim, x.shape[dim]):
        return _along(x, dim, _matrix(x.shape[dim], scale, x.dtype, x.device))
    count, before, after = _overhang(x.shape[dim], scale)
    first, weights = taps(scale)
    padded = extend(x, dim, before, after)
    shape = list(x.shape)
    shape[dim] = count
    out = x.new_zeros(shape)
    for k, weight in enumerate(weights):
        out = out.add_(_every(padded, dim, before + first + k, scale, count), alpha=weight)
    return out


def expand(y: Tensor, dim: int, scale: int, length: int) -> Tensor:
    """Adjoint of `reduce` on signals of `length`."""
    if _short(y, dim, length):
        return _along(y, dim, _matrix(length, scale, y.dtype, y.device).T)
    count, before, after = _overhang(length, scale)
    first, weights = taps(scale)
    shape = list(y.shape)
    shape[dim] = before + length + after
    out = y.new_zeros(shape)
    for k, weight in enumerate(weights):
        _every(out, dim, before + first + k, scale, count).add_(y, alpha=weight)
    return fold(out, dim, before, after)


def _short(x: Tensor, dim: int, length: int) -> bool:
    return x.ndim == 4 and dim in (-1, -2) and length <= MATRIX_LIMIT


@lru_cache(maxsize=16)
def _matrix(length: int, scale: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    return dense_axis(length, scale).to(device, dtype)


def _along(x: Tensor, dim: int, matrix: Tensor) -> Tensor:
    """Product with a matrix along one of the last two axes, plane by plane: no plane's sum depends on the others."""
    n, c, h, w = x.shape
    planes = x.reshape(n * c, h, w)
    many = matrix.expand(n * c, *matrix.shape)
    product = torch.bmm(many, planes) if dim == -2 else torch.bmm(planes, many.mT)
    return product.view(n, c, *product.shape[1:])


def _every(x: Tensor, dim: int, start: int, step: int, count: int) -> Tensor:
    index = [slice(None)] * x.ndim
    index[dim] = slice(start, start + (count - 1) * step + 1, step)
    return x[tuple(index)]


def response(length: int, scale: int) -> Tensor:
    """[length] float64: the reduction filter's gain at each frequency of the DCT-II."""
    first, weights = taps(scale)
    distances = [first + k - (scale - 1) / 2 for k in range(len(weights))]
    return frequency_response(distances, weights, length)


def dense_axis(length: int, scale: int) -> Tensor:
    """[ceil(length / scale), length] float64: the reduction along one axis as a matrix."""
    return reduce(torch.eye(length, dtype=torch.float64), 0, scale)


@lru_cache(maxsize=8)
def gram_axis(length: int, scale: int) -> tuple[Tensor, Tensor | None, bool]:
    """Eigenvalues [h] of A A^T along one axis, float64; its eigenvectors [h, h] as columns, or None where they are
    those of the cosine transform; and whether both are exact (they are not for long sides not divisible by scale)."""
    count = -(-length // scale)
    if length % scale and count <= DENSE_LIMIT:
        matrix = dense_axis(length, scale)
        values, vectors = torch.linalg.eigh(matrix @ matrix.T)
        return values.clamp_min(0.0), vectors, True
    index, factor = aliases(count, scale)
    values = (response(count * scale, scale)[index] * factor).square().sum(1)
    return values, None, length % scale == 0


def by_bases(r: Tensor, bh: Tensor | None, bw: Tensor | None, gram: Tensor, s: Tensor, v: Tensor) -> Tensor:
    """(S + v G_H (x) G_W)^-1 r where the eigenvectors of either axis are a matrix's columns, or cosines (None).

    Args:
        r: [N, C, h, w].
        bh: [h, h] or None.
        bw: [w, w] or None.
        gram: [h, w], eigenvalues.
        s: [N] or [N, 1, 1, 1], noise variance.
        v: [N].
    """
    c = dct(r, -1) if bw is None else r @ bw.to(r)
    c = dct(c, -2) if bh is None else bh.to(r).T @ c
    c = c / (per_row(s, r).to(r) + per_row(v, r).to(r) * gram.to(r))
    c = idct(c, -1) if bw is None else c @ bw.to(r).T
    return idct(c, -2) if bh is None else bh.to(r) @ c


def bicubic_upsample(y: Tensor, scale: int, size: tuple[int, int] | None = None) -> Tensor:
    """MATLAB's `imresize(y, scale)`: cubic interpolation on block centres with symmetric borders; the usual baseline.

    Args:
        y: [N, C, h, w].
        scale: a positive integer.
        size: (H, W) to cut the answer to; by default (h * scale, w * scale).

    Returns:
        [N, C, H, W], neither clipped nor rounded.

    Raises:
        ParameterError: the scale is not a positive integer, or the size is not of that many times y's.
    """
    if isinstance(scale, bool) or int(scale) != scale or scale < 1:
        raise ParameterError(f"the scale must be a positive whole number; got {scale!r}")
    h, w = y.shape[-2:]
    height, width = size if size is not None else (h * scale, w * scale)
    if (-(-height // scale), -(-width // scale)) != (h, w):
        raise ParameterError(f"{w}x{h} enlarged {scale} times does not give {width}x{height}")
    return by_planes(lambda p: _enlarge(_enlarge(p, -1, scale), -2, scale)[..., :height, :width], y)


def _enlarge(y: Tensor, dim: int, scale: int) -> Tensor:
    length = y.shape[dim]
    padded = extend(y, dim, 2, 2)
    shape = list(y.shape)
    shape[dim] = length * scale
    out = y.new_zeros(shape)
    for phase in range(scale):
        u = (phase + 0.5) / scale - 0.5
        base = math.floor(u)
        for j in range(base - 1, base + 3):
            weight = float(cubic(torch.tensor(u - j, dtype=torch.float64)))
            if weight:
                _every(out, dim, phase, scale, length).add_(padded.narrow(dim, 2 + j, length), alpha=weight)
    return out
