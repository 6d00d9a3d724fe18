"""Mean and variance of posterior samples, in one pass."""

from __future__ import annotations

import torch
from torch import Tensor


class Moments:
    """Of pictures that come one after the other (Welford 1962: one pass, no cancellation)."""

    def __init__(self) -> None:
        self._count = 0
        self._mean: Tensor | None = None
        self._squares: Tensor | None = None

    def add(self, x: Tensor) -> None:
        """One more, shaped like the others."""
        self._count += 1
        if self._mean is None:
            self._mean = x
            return
        delta = x - self._mean
        self._mean = torch.lerp(self._mean, x, 1.0 / self._count)
        delta.mul_(x - self._mean)
        self._squares = delta if self._squares is None else self._squares.add_(delta)

    @property
    def mean(self) -> Tensor:
        """Of one or more."""
        assert self._mean is not None
        return self._mean

    def variance(self) -> Tensor | None:
        """The unbiased one; None of fewer than two."""
        return None if self._squares is None else self._squares / (self._count - 1)
