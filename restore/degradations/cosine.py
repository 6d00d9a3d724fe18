"""The orthonormal discrete cosine transform (type II): the eigenvectors of every symmetric filter under half-sample
symmetric borders."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor


@lru_cache(maxsize=16)
def _phases(n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    angle = torch.arange(n // 2 + 1, dtype=torch.float64) * (-math.pi / (2 * n))
    phase = torch.polar(torch.ones_like(angle), angle)
    return phase.to(device, torch.complex128 if dtype == torch.float64 else torch.complex64)


def _phase(n: int, like: Tensor) -> Tensor:
    return _phases(n, like.dtype, like.device)


@lru_cache(maxsize=16)
def _scales(n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    scale = torch.full((n,), math.sqrt(2.0 / n), dtype=dtype, device=device)
    scale[0] = math.sqrt(1.0 / n)
    return scale


def _scale(n: int, like: Tensor) -> Tensor:
    return _scales(n, like.dtype, like.device)


def _dct_last(x: Tensor) -> Tensor:
    n = x.shape[-1]
    shuffled = torch.cat((x[..., ::2], x[..., 1::2].flip(-1)), -1)
    turned = torch.fft.rfft(shuffled, dim=-1) * _phase(n, x)
    tail = turned.imag[..., 1 : (n + 1) // 2].flip(-1).neg()
    return torch.cat((turned.real, tail), -1) * _scale(n, x)


def _idct_last(x: Tensor) -> Tensor:
    n = x.shape[-1]
    x = x / _scale(n, x)
    mirrored = torch.cat((torch.zeros_like(x[..., :1]), x[..., n - n // 2 :].flip(-1).neg()), -1)
    turned = torch.complex(x[..., : n // 2 + 1].contiguous(), mirrored) * _phase(n, x).conj()
    shuffled = torch.fft.irfft(turned, n=n, dim=-1)
    half = n // 2
    pairs = torch.stack((shuffled[..., :half], shuffled[..., n - half :].flip(-1)), -1).flatten(-2)
    # The middle sample of an odd length has no partner.
    return pairs if n % 2 == 0 else torch.cat((pairs, shuffled[..., half : half + 1]), -1)


def dct(x: Tensor, dim: int) -> Tensor:
    """Orthonormal DCT-II along `dim`, by one FFT of the same length (Makhoul 1980, eq. 9 and 11)."""
    return _dct_last(x) if dim in (-1, x.ndim - 1) else _dct_last(x.transpose(dim, -1)).transpose(dim, -1)


def idct(x: Tensor, dim: int) -> Tensor:
    """Inverse of `dct`."""
    return _idct_last(x) if dim in (-1, x.ndim - 1) else _idct_last(x.transpose(dim, -1)).transpose(dim, -1)


def dct2(x: Tensor) -> Tensor:
    """Orthonormal DCT-II along the last two axes."""
    return dct(dct(x, -1), -2)


def idct2(x: Tensor) -> Tensor:
    """Inverse of `dct2`."""
    return idct(idct(x, -2), -1)
