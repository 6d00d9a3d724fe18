"""What every linear degradation must do, written once."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from restore.degradations import (
    AveragePool,
    Bicubic,
    Blur,
    Decimation,
    GaussianNoise,
    Grey,
    Identity,
    LinearDegradation,
    Mask,
    Opponent,
    gaussian_kernel,
    motion_kernel,
)
from restore.errors import ParameterError

H, W = 12, 18
KNOWN = torch.rand(H, W, generator=torch.Generator().manual_seed(5)) > 0.4
MOTION = motion_kernel(3, 7)
GAUSS = gaussian_kernel(1.0)
SKEWED = torch.outer(torch.tensor([0.1, 0.5, 0.3, 0.1]), torch.tensor([0.2, 0.7, 0.1]))


def after(outer: LinearDegradation, inner: LinearDegradation) -> LinearDegradation:
    both = outer @ inner
    assert isinstance(both, LinearDegradation)
    return both


# name -> (operator, picture size)
OPERATORS: dict[str, tuple[LinearDegradation, tuple[int, int]]] = {
    "identity": (Identity(), (H, W)),
    "grey": (Grey(), (H, W)),
    "opponent": (Opponent(), (H, W)),
    "mask": (Mask(KNOWN), (H, W)),
    "mask per picture": (Mask(torch.stack((KNOWN, ~KNOWN, KNOWN.flip(0)))[:, None]), (H, W)),
    "average x3": (AveragePool(3), (H, W)),
    "average x4 odd": (AveragePool(4, (13, 19)), (13, 19)),
    "decimation x3 odd": (Decimation(3, (13, 19)), (13, 19)),
    "bicubic x2": (Bicubic(2), (H, W)),
    "bicubic x3": (Bicubic(3), (H, W)),
    "bicubic x4 odd": (Bicubic(4, (13, 19)), (13, 19)),
    "bicubic x8 one side odd": (Bicubic(8, (16, 19)), (16, 19)),
    "blur symmetric": (Blur(GAUSS), (H, W)),
    "blur longer than the picture": (Blur(gaussian_kernel(2.0, 21)), (H, 11)),
    "blur motion": (Blur(MOTION), (H, W)),
    "blur even separable": (Blur(SKEWED), (H, W)),
    "blur valid symmetric": (Blur(GAUSS, "valid"), (H, W)),
    "blur valid motion": (Blur(MOTION, "valid"), (H, W)),
    "blur valid separable": (Blur(SKEWED, "valid"), (H, W)),
    "average of blur": (after(AveragePool(3), Blur(GAUSS)), (H, W)),
    "bicubic of blur": (after(Bicubic(2), Blur(GAUSS)), (H, W)),
    "bicubic of motion": (after(Bicubic(2), Blur(MOTION)), (H, W)),
    "decimation of blur": (after(Decimation(2), Blur(GAUSS)), (H, W)),
    "mask of bicubic": (after(Mask(KNOWN[:6, :9]), Bicubic(2)), (H, W)),
    "grey of blur of bicubic": (after(Grey(), after(Blur(gaussian_kernel(0.6)), Bicubic(2))), (H, W)),
}
WITH_SPECTRUM = [
    "identity",
    "grey",
    "opponent",
    "mask",
    "mask per picture",
    "average x3",
    "average x4 odd",
    "decimation x3 odd",
    "bicubic x2",
    "bicubic x3",
    "bicubic x4 odd",
    "bicubic x8 one side odd",
    "blur symmetric",
    "blur longer than the picture",
    "blur even separable",
    "blur valid symmetric",
    "blur valid separable",
    "average of blur",
    "bicubic of blur",
]
ITERATIVE = [
    "blur motion",
    "blur valid motion",
    "bicubic of motion",
    "decimation of blur",
    "mask of bicubic",
    "grey of blur of bicubic",
]
every = pytest.mark.parametrize("name", OPERATORS)


def picture(name: str, seed: int = 0, n: int = 3) -> torch.Tensor:
    return torch.rand(n, 3, *OPERATORS[name][1], generator=torch.Generator().manual_seed(seed)) * 2 - 1


def matrices(name: str) -> torch.Tensor:
    """[3, m, n] float64: A, column by column, as three rows see it."""
    operator, (h, w) = OPERATORS[name]
    n = 3 * h * w
    columns = torch.eye(n).view(n, 3, h, w)
    seen = [operator.forward(c.expand(3, 3, h, w)).flatten(1) for c in columns]
    return torch.stack(seen, -1).double()


_MATRICES: dict[str, torch.Tensor] = {}


def dense(name: str) -> torch.Tensor:
    if name not in _MATRICES:
        _MATRICES[name] = matrices(name)
    return _MATRICES[name]


def exact_step(name: str, d: torch.Tensor, y: torch.Tensor, noise: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """d + v A^T (S + v A A^T)^-1 (y - A d) in float64, noise [N, m] per value."""
    a = dense(name)
    d64, y64 = d.double().flatten(1), y.double().flatten(1)
    kernel = torch.diag_embed(noise.double()) + v.double().view(-1, 1, 1) * (a @ a.mT)
    residual = y64 - (a @ d64.unsqueeze(-1)).squeeze(-1)
    w = torch.linalg.solve(kernel, residual.unsqueeze(-1))
    step: torch.Tensor = d64 + v.double().view(-1, 1) * (a.mT @ w).squeeze(-1)
    return step.view_as(d)


@every
def test_adjoint_is_the_transpose(name: str) -> None:
    operator, _ = OPERATORS[name]
    x = picture(name)
    ax = operator.forward(x)
    y = torch.randn(ax.shape, generator=torch.Generator().manual_seed(1))
    left = (ax.double() * y.double()).flatten(1).sum(1)
    right = (x.double() * operator.adjoint(y).double()).flatten(1).sum(1)
    torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-4)


@every
def test_image_shape_inverts_the_measurements_shape(name: str) -> None:
    operator, _ = OPERATORS[name]
    x = picture(name)
    assert operator.image_shape(operator.forward(x)) == tuple(x.shape)


@every
@pytest.mark.parametrize("ratio", [1.0, 1e-2, 1e-4, 1e-6, 1e-8])
def test_gain_step_equals_a_dense_solve(name: str, ratio: float) -> None:
    operator, _ = OPERATORS[name]
    x, d = picture(name), picture(name, 1)
    v = torch.tensor([0.25, 0.1, 0.5])
    sigma = (v * ratio).sqrt()
    noisy = operator.with_noise(GaussianNoise(sigma))
    y = noisy.measure(x, torch.Generator().manual_seed(2))
    got = noisy.gain_step(d, y, v)
    want = exact_step(name, d, y, sigma.square().view(-1, 1).expand(3, y[0].numel()), v)
    error = (got - want).flatten(1).norm(dim=1) / (want - d).flatten(1).norm(dim=1)
    # Conjugate gradients stop at 2e-5 in the picture's units; below a ratio of 1e-4 the residual's float32 rounding,
    # amplified by up to sqrt(1 / ratio) / 2 along near-null directions, shows.
    bound = 2e-4 if name in ITERATIVE else 1e-5
    assert float(error.max()) < (bound if ratio >= 1e-4 else 5e-4), error


@every
def test_gain_step_takes_a_variance_per_value(name: str) -> None:
    operator, _ = OPERATORS[name]
    x, d = picture(name), picture(name, 1)
    v = torch.tensor([0.25, 0.1, 0.5])
    clean = operator.forward(x)
    noise = 0.001 * 10 ** torch.rand(clean.shape, generator=torch.Generator().manual_seed(4))
    y = clean + noise.sqrt() * torch.randn(clean.shape, generator=torch.Generator().manual_seed(2))
    w = operator.solve(y - operator.forward(d), noise, v)
    got = d + v.view(-1, 1, 1, 1) * operator.adjoint(w)
    want = exact_step(name, d, y, noise.flatten(1), v)
    assert float((got - want).abs().max()) < 3e-4


@every
def test_rows_do_not_depend_on_each_other(name: str) -> None:
    def row(i: int) -> LinearDegradation:
        whole = OPERATORS[name][0]
        return Mask(whole.known[i : i + 1]) if name == "mask per picture" and isinstance(whole, Mask) else whole

    x, d = picture(name), picture(name, 1)
    d[1] *= 100.0
    sigma = torch.tensor([0.1, 0.01, 0.0003])
    v = torch.tensor([0.25, 0.001, 0.5])
    y = OPERATORS[name][0].forward(x)
    together = OPERATORS[name][0].with_noise(GaussianNoise(sigma)).gain_step(d, y, v)
    estimates = OPERATORS[name][0].with_noise(GaussianNoise(sigma)).initial_estimate(y)
    for i in range(3):
        alone = row(i).with_noise(GaussianNoise(sigma[i : i + 1]))
        torch.testing.assert_close(
            together[i], alone.gain_step(d[i : i + 1], y[i : i + 1], v[i : i + 1])[0], rtol=1e-4, atol=2e-4
        )
        estimate = alone.initial_estimate(y[i : i + 1])
        torch.testing.assert_close(estimates.x[i], estimate.x[0], rtol=1e-4, atol=2e-4)
        torch.testing.assert_close(estimates.sigma[i], estimate.sigma[0], rtol=1e-3, atol=1e-4)


@every
def test_a_noise_free_measurement_gives_finite_consistent_steps(name: str) -> None:
    operator, _ = OPERATORS[name]
    x, d = picture(name), picture(name, 1)
    y = operator.forward(x)
    step = operator.gain_step(d, y, torch.full((3,), 0.25))
    assert bool(torch.isfinite(step).all())
    before = (operator.forward(d) - y).square().mean()
    assert float((operator.forward(step) - y).square().mean()) < 1e-4 * float(before)
    # The posterior mean under a flat variance is a projection: it cannot be farther from the truth.
    assert float((step - x).norm()) <= float((d - x).norm()) * 1.0001


@every
def test_a_certain_prior_is_left_alone(name: str) -> None:
    operator, _ = OPERATORS[name]
    d = picture(name, 1)
    step = operator.gain_step(d, operator.forward(picture(name)), torch.zeros(3))
    torch.testing.assert_close(step, d)


@every
def test_initial_estimate_and_its_error_are_of_the_right_size(name: str) -> None:
    operator, _ = OPERATORS[name]
    sigma = torch.tensor([0.05, 0.2, 0.01])
    noisy = operator.with_noise(GaussianNoise(sigma))
    x = 0.5 * torch.randn(3, 3, *OPERATORS[name][1], generator=torch.Generator().manual_seed(9))
    estimate = noisy.initial_estimate(noisy.measure(x, torch.Generator().manual_seed(3)))
    assert estimate.x.shape == x.shape and estimate.sigma.shape == (3,)
    if "mask" in name and "bicubic" not in name:
        return  # judged by its own test: it assumes smooth pictures
    rms = (estimate.x - x).square().mean((1, 2, 3)).sqrt()
    torch.testing.assert_close(estimate.sigma, rms, rtol=0.15, atol=0.01)


@pytest.mark.parametrize("name", WITH_SPECTRUM)
def test_spectrum_reproduces_the_operator(name: str) -> None:
    operator, (h, w) = OPERATORS[name]
    x = picture(name)
    y = operator.forward(x)
    s = operator.spectrum((3, 3, h, w))
    c = s.to_v(x)
    assert c.ndim == 4 and c[0].numel() == x[0].numel()
    assert float(s.singular.min()) >= 0.0
    torch.testing.assert_close(s.from_v(c), x, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(s.from_u(s.singular * c), y, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(c.flatten(1).norm(dim=1), x.flatten(1).norm(dim=1))
    k = s.to_u(y)
    assert k.shape == c.shape
    torch.testing.assert_close(s.from_u(k), y, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(k, s.singular * c, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(k.flatten(1).norm(dim=1), y.flatten(1).norm(dim=1), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(s.from_v(s.singular * k), operator.adjoint(y), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", sorted(set(OPERATORS) - set(WITH_SPECTRUM)))
def test_operators_without_a_spectrum_say_so(name: str) -> None:
    operator, (h, w) = OPERATORS[name]
    named = type(getattr(operator, "outer", operator)).__name__
    with pytest.raises(ParameterError, match=named):
        operator.spectrum((3, 3, h, w))


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 5), st.integers(3, 23), st.integers(3, 23), st.sampled_from([AveragePool, Bicubic, Decimation]))
def test_reductions_are_adjoint_and_solvable_at_any_size(
    scale: int, h: int, w: int, kind: type[AveragePool] | type[Bicubic] | type[Decimation]
) -> None:
    operator = kind(scale, (h, w), GaussianNoise(0.01))
    g = torch.Generator().manual_seed(h * 100 + w)
    x, d = torch.rand(1, 1, h, w, generator=g), torch.rand(1, 1, h, w, generator=g)
    y = operator.forward(x)
    assert y.shape[-2:] == (-(-h // scale), -(-w // scale))
    r = torch.rand(y.shape, generator=g)
    torch.testing.assert_close((y * r).sum(), (x * operator.adjoint(r)).sum(), rtol=1e-4, atol=1e-4)
    v = torch.tensor([0.25])
    s = operator.noise.variance(y)
    weights = operator.solve(y - operator.forward(d), s, v)
    back = s.view(-1, 1, 1, 1) * weights + v * operator.forward(operator.adjoint(weights))
    torch.testing.assert_close(back, y - operator.forward(d), rtol=1e-3, atol=1e-4)


def test_gradients_flow_through_forward() -> None:
    for name, (operator, size) in OPERATORS.items():
        x = torch.zeros(3, 3, *size, requires_grad=True)
        y = operator.forward(x)
        r = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
        (gradient,) = torch.autograd.grad((y * r).sum(), x)
        torch.testing.assert_close(gradient, operator.adjoint(r), rtol=1e-4, atol=1e-5, msg=name)
