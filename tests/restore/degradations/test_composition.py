from __future__ import annotations

import pytest
import torch
from torch import Tensor

from restore.degradations import (
    AveragePool,
    Blur,
    Composition,
    Degradation,
    Estimate,
    GaussianNoise,
    Grey,
    Identity,
    LinearComposition,
    gaussian_kernel,
)
from restore.errors import ParameterError


class Logarithm(Degradation):
    """A monotone curve, y = log(2 + x) + n; its step linearises once."""

    def forward(self, x: Tensor) -> Tensor:
        return (x + 2.0).log()

    def image_shape(self, y: Tensor) -> tuple[int, int, int, int]:
        n, c, h, w = y.shape
        return n, c, h, w

    def initial_estimate(self, y: Tensor) -> Estimate:
        return Estimate(y.exp() - 2.0, torch.full((y.shape[0],), 0.02))

    def gain_step(self, d: Tensor, y: Tensor, v: Tensor) -> Tensor:
        slope = 1.0 / (d + 2.0)
        s, spread = self.noise.variance(y).view(-1, 1, 1, 1), v.view(-1, 1, 1, 1)
        return d + spread * slope / (s + spread * slope.square()) * (y - self.forward(d))


def test_noise_is_the_outer_ones() -> None:
    noise = GaussianNoise(0.1)
    both = AveragePool(2, noise=noise) @ Blur(gaussian_kernel(1.0))
    assert isinstance(both, LinearComposition) and both.noise is noise


def test_noise_in_between_is_refused() -> None:
    with pytest.raises(ParameterError, match="AveragePool, which comes last; Blur has noise"):
        AveragePool(2) @ Blur(gaussian_kernel(1.0), noise=GaussianNoise(0.1))


def test_nothing_linear_follows_a_curve() -> None:
    with pytest.raises(ParameterError, match="Logarithm is not"):
        AveragePool(2) @ Logarithm()


def test_order_and_association() -> None:
    x = torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    a, b, c = Grey(), AveragePool(2), Blur(gaussian_kernel(0.7))
    want = a.forward(b.forward(c.forward(x)))
    torch.testing.assert_close(((a @ b) @ c).forward(x), want)
    torch.testing.assert_close((a @ (b @ c)).forward(x), want)
    assert (a @ b @ c).image_shape(want) == (2, 3, 12, 12)


def test_a_curve_after_block_averages_takes_the_exact_step() -> None:
    # Of the averages' prior covariance (v / 4) I nothing is approximated: only the curve's own linearisation remains.
    g = torch.Generator().manual_seed(0)
    d = torch.rand(2, 1, 8, 8, generator=g) - 0.5
    x = d + 0.05 * torch.randn(2, 1, 8, 8, generator=g)
    both = Logarithm(GaussianNoise(0.01)) @ AveragePool(2)
    assert isinstance(both, Composition)
    y = both.measure(x, g)
    v = torch.tensor([0.0025, 0.01])
    got = both.gain_step(d, y, v)
    pool = AveragePool(2)
    z = pool.forward(d)
    slope = 1.0 / (z + 2.0)
    gram = v.view(-1, 1, 1, 1) / 4
    w = slope / (1e-4 + gram * slope.square()) * (y - (z + 2.0).log())
    want = d + v.view(-1, 1, 1, 1) * pool.adjoint(w)
    torch.testing.assert_close(got, want, rtol=1e-3, atol=2e-4)


def test_a_curve_after_a_blur_comes_closer_and_starts_sensibly() -> None:
    g = torch.Generator().manual_seed(0)
    x = Blur(gaussian_kernel(2.0)).forward(torch.randn(1, 3, 24, 24, generator=g)).mul(3).clamp(-1, 1)
    both = Logarithm(GaussianNoise(0.01)) @ Blur(gaussian_kernel(1.0))
    y = both.measure(x, g)
    estimate = both.initial_estimate(y)
    assert estimate.x.shape == x.shape and 0.0 < float(estimate.sigma) < 0.5
    d = x + 0.2 * torch.randn(x.shape, generator=g)
    step = both.gain_step(d, y, torch.tensor([0.04]))
    assert float((step - x).square().mean()) < 0.9 * float((d - x).square().mean())


def test_an_identity_after_a_blur_takes_the_exact_step() -> None:
    g = torch.Generator().manual_seed(0)
    x, d = torch.rand(2, 3, 12, 14, generator=g), torch.rand(2, 3, 12, 14, generator=g)
    blur = Blur(gaussian_kernel(1.0), noise=GaussianNoise(0.05))
    y, v = blur.measure(x, g), torch.tensor([0.02, 0.3])
    both = Composition(Identity(GaussianNoise(0.05)), blur)
    torch.testing.assert_close(both.gain_step(d, y, v), blur.gain_step(d, y, v), rtol=0, atol=1e-4)
