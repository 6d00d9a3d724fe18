"""No degradation but noise."""

from __future__ import annotations

import torch
from torch import Tensor

from restore.degradations.base import Estimate, LinearDegradation
from restore.degradations.gain import noise_diagonal, per_row, row_mean
from restore.degradations.spectral import Spectrum


class Identity(LinearDegradation):
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

    def image_shape(self, y: Tensor) -> tuple[int, int, int, int]:
        """The measurement's own shape."""
        n, c, h, w = y.shape
        return n, c, h, w

    def solve(self, r: Tensor, noise_variance: Tensor, v: Tensor) -> Tensor:
        """r / (S + v), for any diagonal S."""
        return r / (noise_diagonal(noise_variance, v, 1.0, r) + per_row(v, r))

    def initial_estimate(self, y: Tensor) -> Estimate:
        """The noisy picture and its noise level: already a state of the reverse process."""
        return Estimate(y, self.estimate_error(y))

    def estimate_error(self, y: Tensor) -> Tensor:
        """[N], the root mean squared noise."""
        return row_mean(self.noise.variance(y)).sqrt().to(torch.float32)

    def spectrum(self, image_shape: tuple[int, int, int, int]) -> Spectrum:
        """U = S = V = I."""

        def same(x: Tensor) -> Tensor:
            return x

        return Spectrum(torch.ones(1, 1, 1, 1), same, same, same, same)
