"""Against deepinv itself."""

from __future__ import annotations

from typing import Any

import deepinv.physics as physics
import pytest
import torch

from restore.degradations import DeepinvAdapter, Grey
from restore.degradations import gaussian_kernel as gaussian
from restore.errors import ParameterError

SIZE = (3, 16, 20)


def operators() -> dict[str, Any]:
    kernel = gaussian(1.0, 5)[None, None]
    mask = torch.rand(1, 16, 20, generator=torch.Generator().manual_seed(0)) > 0.5
    return {
        "blur valid": physics.Blur(filter=kernel, padding="valid"),
        "blur circular": physics.Blur(filter=kernel, padding="circular"),
        "down-sampling": physics.Downsampling(img_size=SIZE, filter="bicubic", factor=2, padding="circular"),
        "inpainting": physics.Inpainting(img_size=SIZE, mask=mask.float()),
    }


OPERATORS = operators()
every = pytest.mark.parametrize("name", OPERATORS)


def picture(seed: int) -> torch.Tensor:
    return torch.rand(2, *SIZE, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@every
def test_it_is_adjoint_and_has_the_right_shape(name: str) -> None:
    degradation = DeepinvAdapter(OPERATORS[name])
    x = picture(0)
    y = degradation.forward(x)
    r = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close((y * r).sum(), (x * degradation.adjoint(r)).sum(), rtol=1e-4, atol=1e-3)
    assert degradation.image_shape(y) == tuple(x.shape)
    assert DeepinvAdapter(OPERATORS[name], SIZE).image_shape(y) == tuple(x.shape)


@every
def test_gain_step_equals_a_dense_solve(name: str) -> None:
    degradation = DeepinvAdapter(OPERATORS[name])
    x, d = picture(0)[:, :1], picture(1)[:, :1]
    if name in ("down-sampling", "inpainting"):
        x, d = picture(0), picture(1)
    n = x[0].numel()
    a = torch.cat([degradation.forward(e.view(1, *x.shape[1:])).flatten(1) for e in torch.eye(n)]).T.double()
    s, v = torch.tensor([0.01, 0.0001]), torch.tensor([0.25, 0.05])
    y = degradation.forward(x)
    w = degradation.solve(y - degradation.forward(d), s, v)
    got = d + v.view(-1, 1, 1, 1) * degradation.adjoint(w)
    for i in range(2):
        kernel = s[i].double() * torch.eye(len(a)) + v[i].double() * a @ a.T
        residual = (y[i].double().flatten() - a @ d[i].double().flatten()).unsqueeze(-1)
        want = d[i].double().flatten() + v[i].double() * (a.T @ torch.linalg.solve(kernel, residual)).squeeze(-1)
        assert float((got[i].double().flatten() - want).abs().max()) < 5e-4


@every
def test_ranges_are_converted(name: str) -> None:
    operator = OPERATORS[name]
    degradation = DeepinvAdapter(operator)
    x = picture(0)
    theirs = operator.A((x + 1.0) / 2.0)
    torch.testing.assert_close(degradation.from_deepinv(theirs), degradation.forward(x), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(degradation.to_deepinv(degradation.forward(x)), theirs, rtol=1e-4, atol=1e-5)


def test_their_noise_doubles_with_the_range() -> None:
    noisy = physics.Inpainting(img_size=SIZE, mask=torch.ones(1, 16, 20), noise_model=physics.GaussianNoise(sigma=0.05))
    y = picture(0)
    torch.testing.assert_close(DeepinvAdapter(noisy).noise.variance(y), torch.full((2,), 0.01))
    assert float(DeepinvAdapter(OPERATORS["blur valid"]).noise.variance(y).max()) == 0.0


def test_initial_estimate_and_its_error() -> None:
    degradation = DeepinvAdapter(OPERATORS["down-sampling"])
    x = 0.5 * torch.randn(2, *SIZE, generator=torch.Generator().manual_seed(0))
    estimate = degradation.initial_estimate(degradation.forward(x))
    rms = (estimate.x - x).square().mean((1, 2, 3)).sqrt()
    torch.testing.assert_close(estimate.sigma, rms, rtol=0.1, atol=0.01)


def test_it_composes() -> None:
    both = Grey() @ DeepinvAdapter(OPERATORS["blur valid"])
    x = picture(0)
    torch.testing.assert_close(both.forward(x), Grey().forward(OPERATORS["blur valid"].A(x)))
    assert both.image_shape(both.forward(x)) == tuple(x.shape)


def test_what_is_not_linear_or_not_real_is_named() -> None:
    with pytest.raises(ParameterError, match="str has no A"):
        DeepinvAdapter("blur")
    fourier = physics.LinearPhysics(A=lambda x: torch.fft.fft2(x), A_adjoint=lambda y: torch.fft.ifft2(y))
    with pytest.raises(ParameterError, match="complex"):
        DeepinvAdapter(fourier).forward(picture(0))
