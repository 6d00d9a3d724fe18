from __future__ import annotations

import pytest
import torch

from restore.degradations.exposure import Exposure, ToneCurve, linear_light, srgb
from restore.degradations.noise import GaussianNoise
from restore.errors import ParameterError
from restore.estimation.dark_noise import ChannelNoise
from restore.estimation.exposure import stops_curve


@pytest.fixture
def picture() -> torch.Tensor:
    return torch.rand(2, 3, 20, 17, generator=torch.Generator().manual_seed(0)) * 1.8 - 0.95


def test_linear_light_and_srgb_are_inverse_beyond_black_and_white() -> None:
    s = torch.linspace(-1.1, 1.4, 500)
    assert torch.allclose(srgb(linear_light(s)), s, atol=2e-6)


def test_darkening_undoes_brightening(picture: torch.Tensor) -> None:
    exposure = Exposure(stops_curve(3.0))
    dark = exposure.forward(picture)
    assert dark.mean() < picture.mean() - 0.4
    assert torch.allclose(exposure.brighten(dark), picture, atol=2e-4)


def test_a_gain_map_is_undone_as_well(picture: torch.Tensor) -> None:
    gain = torch.linspace(1.0, 1.5, 17).expand(1, 1, 20, 17)
    exposure = Exposure(stops_curve(2.0), gain)
    dark = exposure.forward(picture)
    assert torch.allclose(exposure.brighten(dark), picture, atol=2e-4)
    plain = Exposure(stops_curve(2.0)).forward(picture)
    assert torch.allclose(linear_light(plain), linear_light(dark) * gain, atol=1e-4)


def test_variance_follows_the_slope_of_the_curve() -> None:
    sigma = 0.01
    exposure = Exposure(stops_curve(2.0), noise=GaussianNoise(sigma))
    mean = torch.full((1, 3, 100, 100), -0.7)
    noisy = exposure.noise.sample(mean, torch.Generator().manual_seed(0))
    found = exposure.brighten(noisy).std()
    assert exposure.bright_variance(mean).sqrt().mean() == pytest.approx(float(found), rel=0.03)
    assert found > 1.5 * sigma


def test_gain_step_weighs_estimate_and_measurement_by_their_variances(picture: torch.Tensor) -> None:
    y = Exposure(stops_curve(2.0)).forward(picture)
    v = torch.tensor([0.01, 0.04])
    d = picture + 0.1
    exact = Exposure(stops_curve(2.0), noise=GaussianNoise(0.0)).gain_step(d, y, v)
    assert torch.allclose(exact, picture, atol=1e-3)
    exposure = Exposure(stops_curve(2.0), noise=GaussianNoise(0.02))
    s = exposure.bright_variance(exposure.forward(d))
    expected = (s * d + v.view(-1, 1, 1, 1) * picture) / (s + v.view(-1, 1, 1, 1))
    assert torch.allclose(exposure.gain_step(d, y, v), expected, atol=1e-3)


def test_initial_estimate_tells_its_error(picture: torch.Tensor) -> None:
    noise = ChannelNoise(torch.full((3,), 1e-5), torch.full((3,), 0.004))
    exposure = Exposure(stops_curve(3.0), noise=noise)
    y = exposure.measure(picture.repeat(1, 1, 5, 5), torch.Generator().manual_seed(1))
    estimate = exposure.initial_estimate(y)
    error = (estimate.x - picture.repeat(1, 1, 5, 5)).square().mean((1, 2, 3)).sqrt()
    assert torch.allclose(estimate.sigma, error, rtol=0.25)


@pytest.mark.parametrize(
    ("dark", "bright"),
    [
        (torch.tensor([-1.0, 1.0]), torch.ones(2, 2)),
        (torch.tensor([-1.0, 1.0]), torch.tensor([[0.0, 0.0]] * 3)),
        (torch.tensor([1.0, -1.0]), torch.tensor([[0.0, 1.0]] * 3)),
        (torch.tensor([-1.0, 1.0]), torch.tensor([[0.0, torch.nan]] * 3)),
    ],
)
def test_curves_that_cannot_be_inverted_are_refused(dark: torch.Tensor, bright: torch.Tensor) -> None:
    with pytest.raises(ParameterError, match="tone curve"):
        ToneCurve(dark, bright)


def test_a_gain_map_with_a_hole_is_refused() -> None:
    with pytest.raises(ParameterError, match="gain map"):
        Exposure(stops_curve(1.0), torch.zeros(1, 1, 4, 4))
