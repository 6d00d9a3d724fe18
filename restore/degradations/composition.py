"""One degradation after another: `outer @ inner`."""

from __future__ import annotations

import torch
from torch import Tensor

from restore.degradations.base import Degradation, Estimate, LinearDegradation
from restore.degradations.conjugate_gradient import solve_gain
from restore.degradations.cosine_form import CosineForm
from restore.degradations.gain import noise_diagonal
from restore.degradations.noise import GaussianNoise
from restore.degradations.planes import Remembered
from restore.degradations.probing import largest_eigenvalue, probed_error
from restore.degradations.spectral import Spectrum
from restore.errors import ParameterError


def compose(outer: Degradation, inner: Degradation) -> Degradation:
    """outer after inner: y = outer(inner(x)) + n, n being the outer one's noise. What `@` does.

    Raises:
        ParameterError: the inner one is not linear, or has noise of its own: passed through the outer one it would
            be correlated, or worse. Put all noise on the outer one (`with_noise`).
    """
    if not isinstance(inner, LinearDegradation):
        raise ParameterError(
            f"{type(outer).__name__} @ {type(inner).__name__}: what comes first must be linear; "
            f"{type(inner).__name__} is not"
        )
    if not noise_free(inner):
        raise ParameterError(
            f"{type(outer).__name__} @ {type(inner).__name__}: the noise must be that of {type(outer).__name__}, which "
            f"comes last; {type(inner).__name__} has noise of its own"
        )
    if isinstance(outer, LinearDegradation):
        return LinearComposition(outer, inner)
    return Composition(outer, inner)


def noise_free(degradation: Degradation) -> bool:
    """Whether the noise is Gaussian with deviation zero."""
    noise = degradation.noise
    return isinstance(noise, GaussianNoise) and not bool(torch.as_tensor(noise.sigma).any())


def _between(outer: Degradation, y: Tensor) -> Tensor:
    """A tensor without memory, shaped as what the outer degradation is given when y is measured."""
    return torch.empty(outer.image_shape(y), device="meta")


class LinearComposition(LinearDegradation):
    """A B of two linear degradations, with A's noise.

    The gain solve is exact, by cosine transforms, where A and B are both diagonal under them (down-sampling after a
    symmetric blur with mirrored borders); elsewhere it is conjugate gradients.

    Args:
        outer: A, applied last.
        inner: B, applied first.
    """

    def __init__(self, outer: LinearDegradation, inner: LinearDegradation) -> None:
        super().__init__(outer.noise)
        self.outer = outer
        self.inner = inner
        self.double = outer.double and inner.double
        self._remembered = Remembered(4)

    def forward(self, x: Tensor) -> Tensor:
        """A(B(x))."""
        return self.outer.forward(self.inner.forward(x))

    def adjoint(self, y: Tensor) -> Tensor:
        """B^T A^T y."""
        return self.inner.adjoint(self.outer.adjoint(y))

    def image_shape(self, y: Tensor) -> tuple[int, int, int, int]:
        """Shape of what B is given."""
        return self.inner.image_shape(_between(self.outer, y))

    def cosine_form(self, image_shape: tuple[int, int, int, int]) -> CosineForm | None:
        """Exists where both have one and B keeps the size."""

        def make() -> CosineForm | None:
            first = self.inner.cosine_form(image_shape)
            if first is None or first.scale != 1:
                return None
            second = self.outer.cosine_form(image_shape)
            return CosineForm(first.response * second.response, second.scale) if second is not None else None

        return self._remembered.get(("cosine", *image_shape[2:]), make)

    def solve(self, r: Tensor, noise_variance: Tensor, v: Tensor) -> Tensor:
        """By cosine transforms where they apply and the noise is one variance a row, else conjugate gradients."""
        form = self.cosine_form(self.image_shape(r))
        if form is not None and noise_variance.ndim == 1:
            return form.solve(r, noise_diagonal(noise_variance, v, float(form.gram.max()), r), v)
        largest = self._remembered.get(("largest", *r.shape), lambda: largest_eigenvalue(self, r))
        return solve_gain(self.gram, r, noise_variance, v, largest=largest, double=self.double)

    def estimate_error(self, y: Tensor) -> Tensor:
        """[N], under the white prior; by one random probe."""
        return probed_error(self, y)

    def spectrum(self, image_shape: tuple[int, int, int, int]) -> Spectrum:
        """From the cosine form."""
        form = self.cosine_form(image_shape)
        if form is None:
            raise ParameterError(
                f"{type(self.outer).__name__} @ {type(self.inner).__name__} has no singular value decomposition that "
                "is cheap enough; choose a sampler that does not need one"
            )
        return form.spectrum()


class Composition(Degradation):
    """A(B x) with A not linear and B linear.

    A's own data step, asked at z = B d with the variances t and 4 t (t: mean of v B B^T's diagonal), answers z + c and
    z + c'. Were A the identity with noise S, c would be t r / (S + t): the two answers tell S, one a row, and the
    residual r, with which B's exact step is taken. The result is exact when A is the identity, whatever B, and when
    B B^T is a multiple of the identity (block averages, decimation, grey conversion), whatever A, as far as A's own
    step is: by the law of total expectation E[x | y] = d + v B^T (v B B^T)^-1 (E[z | y] - B d).

    Args:
        outer: A, applied last.
        inner: B, applied first.
    """

    #: The noise equivalent to A stays within this factor of t, either way.
    trust = 1e3

    def __init__(self, outer: Degradation, inner: LinearDegradation) -> None:
        super().__init__(outer.noise)
        self.outer = outer
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        """A(B(x))."""
        return self.outer.forward(self.inner.forward(x))

    def image_shape(self, y: Tensor) -> tuple[int, int, int, int]:
        """Shape of what B is given."""
        return self.inner.image_shape(_between(self.outer, y))

    def initial_estimate(self, y: Tensor) -> Estimate:
        """A's estimate, taken by B for a measurement with that much noise."""
        between = self.outer.initial_estimate(y)
        return self.inner.with_noise(GaussianNoise(between.sigma)).initial_estimate(between.x)

    def gain_step(self, d: Tensor, y: Tensor, v: Tensor) -> Tensor:
        """See the class."""
        z = self.inner.forward(d)
        t = v * mean_gain(self.inner, z)
        near = (self.outer.gain_step(z, y, t) - z).flatten(1)
        far = (self.outer.gain_step(z, y, 4.0 * t) - z).flatten(1)
        ratio = ((near * far).sum(1) / far.square().sum(1).clamp_min(1e-30)).clamp(0.25, 1.0)
        noise = (4.0 * t * (1.0 - ratio) / (4.0 * ratio - 1.0).clamp_min(1e-6)).clamp(t / self.trust, t * self.trust)
        residual = near.view_as(z) * (1.0 + noise / t.clamp_min(1e-30)).view(-1, *[1] * (z.ndim - 1))
        w = self.inner.solve(residual, noise, v)
        return d + v.view(-1, 1, 1, 1) * self.inner.adjoint(w)


def mean_gain(degradation: LinearDegradation, y: Tensor) -> float:
    """Mean eigenvalue of A A^T, by one random probe of y's size."""
    probe = torch.randn(1, *y.shape[1:], generator=torch.Generator().manual_seed(0)).to(y)
    return float(degradation.adjoint(probe).square().sum() / probe.square().sum())
