"""Degradations that the cosine transform makes (nearly) diagonal: symmetric filters, with or without decimation.

A filter that is symmetric in both directions maps every cosine of the DCT-II to itself, borders being half-sample
symmetric (Strang 1999, "The discrete cosine transform"). Keeping every s-th sample, at the centres of s x s blocks,
maps s^2 cosines of the picture onto one of the measurement, with known signs. Hence A = C_h^T F diag(response) C_H
where C are cosine transforms and F adds s^2 coefficients: A A^T is diagonal under C_h, and each small group of
coefficients has a singular value decomposition by one reflection. Nothing is approximate, and the cost is that of a
few FFTs at any size that is divisible by s.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from torch import Tensor

from restore.degradations.cosine import dct2, idct2
from restore.degradations.gain import per_row
from restore.degradations.planes import LIMIT, by_planes
from restore.degradations.spectral import Spectrum


def frequency_response(distances: Sequence[float], weights: Sequence[float], length: int) -> Tensor:
    """[length] float64: gain of a symmetric filter at each frequency of the DCT-II of `length` samples.

    Args:
        distances: of the taps from the filter's centre, in samples (half-integers for a centre between two samples).
        weights: of the taps.
        length: number of samples.
    """
    t = torch.tensor(distances, dtype=torch.float64)
    w = torch.tensor(weights, dtype=torch.float64)
    f = torch.arange(length, dtype=torch.float64) * (math.pi / length)
    return torch.cos(torch.outer(f, t)) @ w


@lru_cache(maxsize=32)
def aliases(length: int, scale: int) -> tuple[Tensor, Tensor]:
    """Which frequencies of `length * scale` samples fall on each of `length` ones, and with which factor.

    cos(pi f (i + 1/2) / h) for f = 2 h m +- k equals (-1)^m cos(pi k (i + 1/2) / h), and vanishes for odd multiples of
    h (which are listed under k = 0 with factor 0); the rest is the transforms' normalisation.

    Returns:
        index [length, scale] int64, a permutation of all frequencies, and factor [length, scale] float64.
    """
    k = torch.arange(length).view(-1, 1)
    j = torch.arange(scale).view(1, -1)
    m = (j + 1) // 2
    index = torch.where(j % 2 == 0, 2 * length * m + k, 2 * length * m - k)
    factor = (1.0 - 2.0 * (m % 2)).expand(length, scale).double() / math.sqrt(scale)
    index[0] = length * torch.arange(scale)
    even = torch.arange(scale) % 2 == 0
    sign = 1.0 - 2.0 * ((torch.arange(scale) // 2) % 2).double()
    factor[0] = torch.where(even, sign * math.sqrt(2.0 / scale), 0.0)
    factor[0, 0] = 1.0 / math.sqrt(scale)
    return index, factor


@dataclass(frozen=True)
class CosineForm:
    """One degradation at one size.

    Attributes:
        response: [H, W], gain at each frequency of the picture, before decimation.
        scale: s; H and W are divisible by it.
    """

    response: Tensor
    scale: int = 1

    @cached_property
    def _tables(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        height, width = self.response.shape
        ih, fh = aliases(height // self.scale, self.scale)
        iw, fw = aliases(width // self.scale, self.scale)
        device = self.response.device
        return ih.flatten().to(device), iw.flatten().to(device), fh.flatten(), fw.flatten()

    def _group(self, x: Tensor) -> Tensor:
        """[..., H, W] -> [..., h, w, s * s]."""
        s = self.scale
        if s == 1:
            return x.unsqueeze(-1)
        ih, iw, _, _ = self._tables
        height, width = x.shape[-2:]
        picked = x.index_select(-2, ih).index_select(-1, iw)
        return picked.reshape(*x.shape[:-2], height // s, s, width // s, s).transpose(-3, -2).flatten(-2)

    def _ungroup(self, g: Tensor) -> Tensor:
        """[..., h, w, s * s] -> [..., H, W]."""
        s = self.scale
        if s == 1:
            return g.squeeze(-1)
        ih, iw, _, _ = self._tables
        flat = g.reshape(*g.shape[:-1], s, s).transpose(-3, -2).flatten(-4, -3).flatten(-2)
        return flat.index_select(-2, ih.argsort()).index_select(-1, iw.argsort())

    def _rows(self) -> Tensor:
        """[h, w, s * s]: the row of A, in cosine coefficients, of each coefficient of the measurement."""
        if self.scale == 1:
            return self.response.unsqueeze(-1)
        ih, iw, fh, fw = self._tables
        factor = torch.empty_like(self.response, dtype=torch.float64)
        factor[ih.unsqueeze(1), iw] = torch.outer(fh, fw).to(factor)
        return self._group(self.response * factor.to(self.response))

    @cached_property
    def gram(self) -> Tensor:
        """[h, w], eigenvalues of A A^T."""
        return self._rows().square().sum(-1)

    def solve(self, r: Tensor, noise_variance: Tensor, v: Tensor) -> Tensor:
        """(S + v A A^T)^-1 r for one noise variance a row; exact.

        Args:
            r: [N, C, h, w].
            noise_variance: [N] (or [N, 1, 1, 1]), positive where `gram` is zero.
            v: [N].
        """
        return cosine_solve(r, self.gram, noise_variance, v)

    def spectrum(self) -> Spectrum:
        """A's singular value decomposition: cosine transform, then one reflection (Householder 1958) per group."""
        rows = self._rows().double()
        singular = rows.square().sum(-1).sqrt()
        normal = torch.where(singular.unsqueeze(-1) > 0, rows / singular.unsqueeze(-1).clamp_min(1e-300), 0.0)
        sign = torch.where(normal[..., 0] < 0, -1.0, 1.0)
        normal[..., 0] += sign
        normal /= normal.square().sum(-1, keepdim=True).sqrt()
        normal, sign = normal.float(), sign.float()
        h, w, group = rows.shape
        values = torch.zeros(1, 1, h, w, group)
        values[0, 0, ..., 0] = singular.float().cpu()

        def reflect(g: Tensor) -> Tensor:
            n = normal.to(g)
            return g - 2.0 * (g * n).sum(-1, keepdim=True) * n

        def to_u(y: Tensor) -> Tensor:
            coefficients = -sign.to(y) * dct2(y)
            out = coefficients.new_zeros(*coefficients.shape, group)
            out[..., 0] = coefficients
            return out.flatten(-2)

        def from_u(c: Tensor) -> Tensor:
            return idct2(-sign.to(c) * c.reshape(*c.shape[:-1], w, group)[..., 0])

        return Spectrum(
            singular=values.flatten(-2),
            to_v=lambda x: reflect(self._group(dct2(x))).flatten(-2),
            from_v=lambda c: idct2(self._ungroup(reflect(c.reshape(*c.shape[:-1], w, group)))),
            to_u=to_u,
            from_u=from_u,
        )


def cosine_solve(r: Tensor, gram: Tensor, noise_variance: Tensor, v: Tensor) -> Tensor:
    """C^T diag(1 / (s + v gram)) C r, row by row where pictures are large.

    Args:
        r: [N, C, h, w].
        gram: [h, w] or broadcastable to it.
        noise_variance: [N] or [N, 1, 1, 1].
        v: [N].
    """
    s, spread = per_row(noise_variance, r).to(r), per_row(v, r).to(r)
    gram = gram.to(r)
    if r.numel() <= LIMIT:
        return idct2(dct2(r) / (s + spread * gram))
    rows = [
        by_planes(lambda plane, i=i: idct2(dct2(plane) / (s[i] + spread[i] * gram)), r[i : i + 1])  # type: ignore[misc]
        for i in range(r.shape[0])
    ]
    return torch.cat(rows) if len(rows) > 1 else rows[0]
