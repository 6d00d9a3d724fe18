"""No degradation but noise."""

from __future__ import annotations

import torch
from torch import Tensor

from restore.degradations.base import Estimate, LinearDegradation
from restore.degradations.gain import noise_diagonal, once, per_row, row_mean
from restore.degradations.spectral import Spectrum


class Isometry(LinearDegradation):
    """An A of the picture's own shape with A A^T = I: white noise of x is the same in y."""

    def image_shape(self, y: Tensor) -> tuple[int, int, int, int]:
        """The measurement's own shape."""
        n, c, h, w = y.shape
        return n, c, h, w

    def solve(self, r: Tensor, noise_variance: Tensor, v: Tensor) -> Tensor:
        """r / (S + v), for any diagonal S."""
        return r / (noise_diagonal(once(noise_variance), v, 1.0, r) + per_row(v, r))

    def initial_estimate(self, y: Tensor) -> Estimate:
        """What was measured, turned back, and its noise level: already a state of the reverse process."""
        return Estimate(self.adjoint(y), self.estimate_error(y))

    def estimate_error(self, y: Tensor) -> Tensor:
        """[N], the root mean squared noise."""
        return row_mean(self.noise.variance(y)).sqrt().to(torch.float32)

    def spectrum(self, image_shape: tuple[int, int, int, int]) -> Spectrum:
        """U = S = I, V = A^T."""

        def same(x: Tensor) -> Tensor:
            return x

        return Spectrum(torch.ones(1, 1, 1, 1), self.forward, self.adjoint, same, same)


class Identity(Isometry):
    """y = x + n: denoising.

    Args:
        noise: of the picture.
    """

    def forward(self, x: Tensor) -> Tensor:
        """x itself."""
        return x

    def adjoint(self, y: Tensor) -> Tensor:
        """y itself."""
        return y
