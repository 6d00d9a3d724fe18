"""What a degradation owns: how the measurement came about, and how to be consistent with it."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from restore.degradations.cosine_form import CosineForm
from restore.degradations.noise import GaussianNoise, NoiseModel
from restore.degradations.spectral import Spectrum
from restore.errors import ParameterError


@dataclass(frozen=True)
class Estimate:
    """A first guess of the picture.

    Attributes:
        x: [N, C, H, W] float32 in [-1, 1].
        sigma: [N] float32, its expected root mean squared error: the noise level at which sampling may start.
    """

    x: Tensor
    sigma: Tensor


class Degradation(ABC):
    """y = A(x) + n.

    Pictures are [N, C, H, W] float32 in [-1, 1]; a measurement is whatever `forward` returns, with N first.

    Args:
        noise: distribution of n, in the measurement's units; noise-free by default.
    """

    def __init__(self, noise: NoiseModel | None = None) -> None:
        self.noise: NoiseModel = noise if noise is not None else GaussianNoise(0.0)

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """A(x), without noise."""

    @abstractmethod
    def image_shape(self, y: Tensor) -> tuple[int, int, int, int]:
        """Shape of the pictures whose measurement is y."""

    @abstractmethod
    def initial_estimate(self, y: Tensor) -> Estimate:
        """A regularised inverse of y and its expected error."""

    @abstractmethod
    def gain_step(self, d: Tensor, y: Tensor, v: Tensor) -> Tensor:
        """Posterior mean of N(x; d, v I) N(y; A x, noise): the data-consistency step.

        Args:
            d: [N, C, H, W], the prior's estimate.
            y: the measurement.
            v: [N], variance of d around the truth.
        """

    def misfit(self, x: Tensor, y: Tensor) -> Tensor:
        """y - A(x), shaped as y; zero where y holds what is no measurement."""
        return y - self.forward(x)

    def measure(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """A(x) + n with noise drawn from the noise model."""
        return self.noise.sample(self.forward(x), generator)

    def with_noise(self, noise: NoiseModel) -> Self:
        """The same degradation with another noise model."""
        changed = copy.copy(self)
        changed.noise = noise
        return changed

    def __matmul__(self, inner: Degradation) -> Degradation:
        """`self @ inner`: self after inner, with self's noise (see `composition.compose`)."""
        from restore.degradations.composition import compose

        return compose(self, inner)


class LinearDegradation(Degradation):
    """A linear A. Subclasses give `forward`, `adjoint` and, where one exists, a closed-form `solve`."""

    #: Prior variance of the regularised inverse (sigma_data^2 = 0.25 in [-1, 1]; design notes, 4.6).
    prior_variance: float = 0.25

    #: Whether `forward` and `adjoint` compute in float64 when given it; ill-conditioned solves then do.
    double: bool = True

    @abstractmethod
    def adjoint(self, y: Tensor) -> Tensor:
        """A^T y, a picture."""

    def gram(self, y: Tensor) -> Tensor:
        """A A^T y, shaped as y."""
        return self.forward(self.adjoint(y))

    @abstractmethod
    def solve(self, r: Tensor, noise_variance: Tensor, v: Tensor) -> Tensor:
        """w = (S + v A A^T)^-1 r, shaped as r.

        Args:
            r: shaped as a measurement.
            noise_variance: S's diagonal: [N] (one variance a row) or shaped as r (per value).
            v: [N].
        """

    def gain_step(self, d: Tensor, y: Tensor, v: Tensor) -> Tensor:
        """d + v A^T (S + v A A^T)^-1 (y - A d): the form that keeps float32 precision for tiny S."""
        predicted = self.forward(d)
        variance, residual = self.noise.variance(predicted), y - predicted
        # Pictures may have tens of megapixels: none is held longer than it is needed.
        del predicted
        w = self.solve(residual, variance, v)
        del residual, variance
        change = self.adjoint(w)
        del w
        return torch.addcmul(d, v.view(-1, 1, 1, 1), change)

    def initial_estimate(self, y: Tensor) -> Estimate:
        """The gain step from a grey picture (zero) under a white prior, with its expected error."""
        n, c, h, w = self.image_shape(y)
        v = torch.full((n,), self.prior_variance, device=y.device)
        x = self.gain_step(torch.zeros(n, c, h, w, device=y.device), y, v)
        return Estimate(x, self.estimate_error(y))

    @abstractmethod
    def estimate_error(self, y: Tensor) -> Tensor:
        """[N], expected RMS error of `initial_estimate` under the white prior: sqrt(posterior trace / values)."""

    def cosine_form(self, image_shape: tuple[int, int, int, int]) -> CosineForm | None:
        """A for pictures of `image_shape` in terms of cosine transforms, where that is possible."""
        return None

    def spectrum(self, image_shape: tuple[int, int, int, int]) -> Spectrum:
        """Singular value decomposition of A for pictures of `image_shape`; DDRM and DDNM+ need it.

        Raises:
            ParameterError: this operator has no decomposition that is cheap enough.
        """
        raise ParameterError(
            f"{type(self).__name__} has no singular value decomposition at size {image_shape[2]}x{image_shape[3]}; "
            "choose a sampler that does not need one"
        )
