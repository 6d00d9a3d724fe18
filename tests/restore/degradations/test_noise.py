"""Noise models: what they draw has the variance they state."""

import pytest
import torch

from restore.degradations.noise import GaussianNoise, PerPixelGaussianNoise, PoissonGaussianNoise
from restore.errors import ParameterError


def draw(noise: object, mean: torch.Tensor) -> torch.Tensor:
    return noise.sample(mean, torch.Generator().manual_seed(0))  # type: ignore[attr-defined]


def test_gaussian_noise_takes_one_level_per_row() -> None:
    noise = GaussianNoise(torch.tensor([0.1, 0.4]))
    y = draw(noise, torch.zeros(2, 3, 100, 100))
    assert y[0].std().item() == pytest.approx(0.1, rel=0.03) and y[1].std().item() == pytest.approx(0.4, rel=0.03)


def test_per_pixel_noise_follows_its_map() -> None:
    sigma = torch.linspace(0.0, 0.5, 64).view(1, 1, 1, 64)
    noise = PerPixelGaussianNoise(sigma)
    mean = torch.full((1, 3, 2000, 64), 0.25)
    assert noise.variance(mean).shape == mean.shape
    y = draw(noise, mean)
    torch.testing.assert_close((y - mean).std(dim=(0, 1, 2)), sigma.flatten(), rtol=0.05, atol=1e-6)
    torch.testing.assert_close(noise.variance(mean)[0, 0, 0].sqrt(), sigma.flatten())


@pytest.mark.parametrize("level", [-1.0, -0.8, 0.0, 1.0])
def test_poisson_gaussian_draws_have_the_stated_mean_and_variance(level: float) -> None:
    noise = PoissonGaussianNoise(0.02, 0.05)
    mean = torch.full((1, 1, 400, 400), level)
    y = draw(noise, mean)
    assert y.mean().item() == pytest.approx(level, abs=2e-3)
    assert y.var().item() == pytest.approx(0.02 * (level + 1.0) + 0.05**2, rel=0.02)
    assert y.var().item() == pytest.approx(noise.variance(mean)[0, 0, 0, 0].item(), rel=0.02)


def test_shot_noise_comes_in_whole_photons() -> None:
    y = draw(PoissonGaussianNoise(0.1, 0.0), torch.zeros(1, 1, 50, 50))
    counts = (y + 1.0) / 0.1
    assert (counts - counts.round()).abs().max() < 1e-4 and counts.unique().numel() > 10


def test_unit_range_parameters_mean_the_same_noise() -> None:
    x01 = 0.3
    noise = PoissonGaussianNoise.from_unit_range(0.01, 0.02)
    variance = noise.variance(torch.full((1, 1, 1, 1), 2.0 * x01 - 1.0)).item()
    assert variance == pytest.approx(4.0 * (0.01 * x01 + 0.02**2), rel=1e-5)


def test_poisson_gaussian_parameters_may_differ_by_row_and_vanish() -> None:
    noise = PoissonGaussianNoise(torch.tensor([0.0, 0.05]), torch.tensor([0.1, 0.0]))
    y = draw(noise, torch.zeros(2, 1, 300, 300))
    assert y[0].var().item() == pytest.approx(0.01, rel=0.03) and y[1].var().item() == pytest.approx(0.05, rel=0.03)
    mean = torch.linspace(-1, 1, 12).view(1, 1, 3, 4)
    torch.testing.assert_close(draw(PoissonGaussianNoise(0.0, 0.0), mean), mean)


def test_below_black_there_is_read_noise_only() -> None:
    noise = PoissonGaussianNoise(0.1, 0.05)
    assert noise.variance(torch.full((1, 1, 1, 1), -1.5)).item() == pytest.approx(0.0025)


def test_equal_seeds_draw_equal_noise() -> None:
    mean = torch.zeros(1, 3, 8, 8)
    for noise in (PoissonGaussianNoise(0.02, 0.05), PerPixelGaussianNoise(torch.tensor(0.1))):
        assert torch.equal(draw(noise, mean), draw(noise, mean))


def test_negative_or_undefined_parameters_are_refused() -> None:
    with pytest.raises(ParameterError, match="gain a"):
        PoissonGaussianNoise(-0.1, 0.0)
    with pytest.raises(ParameterError, match="read noise b"):
        PoissonGaussianNoise(0.1, float("nan"))
    with pytest.raises(ParameterError, match="noise map"):
        PerPixelGaussianNoise(torch.tensor([0.1, -0.1]))
