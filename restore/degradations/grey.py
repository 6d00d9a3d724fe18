"""The luma of a colour picture: what a black-and-white photograph keeps."""

from __future__ import annotations

import torch
from torch import Tensor

from restore.degradations.base import Estimate, LinearDegradation
from restore.degradations.gain import noise_diagonal, per_row, posterior_rms
from restore.degradations.noise import NoiseModel
from restore.degradations.spectral import Spectrum
from restore.errors import ParameterError

#: Luma of R'G'B' (ITU-R BT.601-7, section 2.5.1).
BT601 = (0.299, 0.587, 0.114)


class Grey(LinearDegradation):
    """y = sum_c weights_c x_c, [N, 3, H, W] -> [N, 1, H, W]; for weights that sum to 1 the range stays [-1, 1].

    Args:
        noise: of the grey picture.
        weights: one a channel; BT.601 luma by default.

    Raises:
        ParameterError: fewer than two weights, or none of them different from zero.
    """

    def __init__(self, noise: NoiseModel | None = None, weights: tuple[float, ...] = BT601) -> None:
        super().__init__(noise)
        if len(weights) < 2 or not any(weights):
            raise ParameterError(f"Grey needs one weight a channel, not all zero; got {weights}")
        self.weights = tuple(float(w) for w in weights)

    @property
    def _gram(self) -> float:
        return sum(w * w for w in self.weights)

    def _column(self, like: Tensor) -> Tensor:
        return torch.tensor(self.weights, dtype=like.dtype, device=like.device).view(1, -1, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, 1, H, W]."""
        if x.shape[1] != len(self.weights):
            raise ParameterError(f"Grey expects {len(self.weights)} channels, the picture has {x.shape[1]}")
        return (x * self._column(x)).sum(1, keepdim=True)

    def adjoint(self, y: Tensor) -> Tensor:
        """[N, 1, H, W] -> [N, C, H, W]."""
        return y * self._column(y)

    def image_shape(self, y: Tensor) -> tuple[int, int, int, int]:
        """As many channels as there are weights."""
        return y.shape[0], len(self.weights), y.shape[2], y.shape[3]

    def solve(self, r: Tensor, noise_variance: Tensor, v: Tensor) -> Tensor:
        """r / (S + v sum_c weights_c^2), for any diagonal S."""
        return r / (noise_diagonal(noise_variance, v, self._gram, r) + self._gram * per_row(v, r))

    def initial_estimate(self, y: Tensor) -> Estimate:
        """The grey picture itself: photographs' channels go together, while the least-norm inverse, in proportion to
        the weights, is green where it is bright and purple where it is dark."""
        total = sum(self.weights)
        if total == 0.0:
            return super().initial_estimate(y)
        return Estimate((y / total).repeat(1, len(self.weights), 1, 1), self.estimate_error(y))

    def estimate_error(self, y: Tensor) -> Tensor:
        """[N], under the white prior."""
        gram = torch.tensor([self._gram], device=y.device)
        return posterior_rms(gram, len(self.weights), self.noise.variance(y), self.prior_variance)

    def spectrum(self, image_shape: tuple[int, int, int, int]) -> Spectrum:
        """One reflection per pixel turns the weights' direction into channel 0 (Householder 1958)."""
        c = len(self.weights)
        size = self._gram**0.5
        unit = torch.tensor(self.weights, dtype=torch.float64) / size
        sign = 1.0 if unit[0] >= 0 else -1.0
        normal = unit.clone()
        normal[0] += sign
        reflection = torch.eye(c, dtype=torch.float64) - 2.0 * torch.outer(normal, normal) / normal.dot(normal)
        singular = torch.zeros(1, c, 1, 1)
        singular[0, 0] = size

        def turn(x: Tensor) -> Tensor:
            return torch.einsum("ij,njhw->nihw", reflection.to(x), x)

        def to_u(y: Tensor) -> Tensor:
            return torch.cat((-sign * y, y.new_zeros(y.shape[0], c - 1, *y.shape[2:])), 1)

        return Spectrum(singular, turn, turn, to_u, lambda k: -sign * k[:, :1])
