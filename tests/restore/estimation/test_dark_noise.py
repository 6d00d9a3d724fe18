from __future__ import annotations

import pytest
import torch

from restore.estimation.dark_noise import ChannelNoise, estimate_dark_noise


def ramp(height: int = 256, width: int = 256) -> torch.Tensor:
    return torch.linspace(-0.95, -0.5, width).expand(1, 3, height, width)


def test_white_signal_dependent_noise_is_found_in_each_channel() -> None:
    true = ChannelNoise(torch.tensor([4e-4, 1e-4, 8e-4]), torch.tensor([0.01, 0.005, 0.015]))
    noisy = true.sample(ramp(), torch.Generator().manual_seed(0))
    found = estimate_dark_noise(noisy)
    for level in (-0.9, -0.7, -0.55):
        mean = torch.full((1, 3, 1, 1), level)
        assert torch.allclose(found.variance(mean).sqrt(), true.variance(mean).sqrt(), rtol=0.12)


def test_blotchy_noise_counts_by_its_coarse_part() -> None:
    white = torch.randn(1, 3, 256, 256, generator=torch.Generator().manual_seed(0)) * 0.02
    blotchy = torch.nn.functional.avg_pool2d(white, 3, 1, 1)
    level = estimate_dark_noise(ramp() + blotchy).variance(ramp()).mean().sqrt()
    fine = blotchy.diff(dim=3).std() / 2**0.5
    # At the coarsest scales the averaged noise is the white noise it was made of.
    assert float(level) > 1.25 * float(fine)
    assert float(level) < 1.1 * 0.02


def test_a_clean_ramp_has_next_to_no_noise() -> None:
    assert estimate_dark_noise(ramp()).variance(ramp()).max().sqrt() < 1e-3


def test_windows_of_a_large_picture_tell_what_the_whole_does() -> None:
    true = ChannelNoise(torch.tensor([4e-4, 1e-4, 8e-4]), torch.tensor([0.01, 0.005, 0.015]))
    noisy = true.sample(ramp(2048, 3000), torch.Generator().manual_seed(0))
    found = estimate_dark_noise(noisy)
    for level in (-0.9, -0.7, -0.55):
        mean = torch.full((1, 3, 1, 1), level)
        assert torch.allclose(found.variance(mean).sqrt(), true.variance(mean).sqrt(), rtol=0.03)


@pytest.mark.parametrize("size", [(1, 1), (2, 40), (16, 16), (17, 33), (600, 40)])
def test_any_size_gives_finite_numbers(size: tuple[int, int]) -> None:
    picture = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0)) * 0.1 - 0.9
    noise = estimate_dark_noise(picture)
    variance = noise.variance(picture)
    assert torch.isfinite(variance).all()
    assert (variance >= 0).all()
