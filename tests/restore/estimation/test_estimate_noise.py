"""Blind noise levels of photographs with synthetic noise."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from restore.degradations.noise import PoissonGaussianNoise
from restore.errors import ImageValueError
from restore.estimation.noise import analyse_noise, estimate_noise, estimate_poisson_gaussian

PHOTOGRAPHS = sorted((Path(__file__).parents[2] / "data").glob("*.png"))


def pixels(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.asarray(image.convert("RGB")).copy()).permute(2, 0, 1)[None].float() / 127.5 - 1.0


def photograph(path: Path) -> Tensor:
    return pixels(Image.open(path))


def eight_bits(y: Tensor) -> Tensor:
    return ((y.clamp(-1.0, 1.0) + 1.0) * 127.5).round() / 127.5 - 1.0


def noise_like(x: Tensor) -> Tensor:
    return torch.randn(x.shape, generator=torch.Generator().manual_seed(5))


def level(y: Tensor) -> float:
    return float(estimate_noise(y)[0]) * 127.5


@pytest.mark.parametrize("path", PHOTOGRAPHS, ids=lambda p: p.stem)
@pytest.mark.parametrize("sigma", [5, 10, 15, 25, 50])
def test_level_is_found_within_a_tenth_clipped_or_not(path: Path, sigma: int) -> None:
    x = photograph(path)
    y = x + noise_like(x) * (sigma / 127.5)
    assert level(y) == pytest.approx(sigma, rel=0.1)
    assert level(eight_bits(y)) == pytest.approx(sigma, rel=0.1)


@pytest.mark.parametrize("path", PHOTOGRAPHS, ids=lambda p: p.stem)
def test_clean_photographs_have_next_to_none(path: Path) -> None:
    assert level(photograph(path)) < 2.0


@pytest.mark.parametrize("sigma", [15, 50])
def test_grey_pictures_are_judged_by_brightness_alone(sigma: int) -> None:
    x = photograph(PHOTOGRAPHS[0])[:, 1:2]
    y = x + noise_like(x) * (sigma / 127.5)
    assert level(y) == pytest.approx(sigma, rel=0.1)
    assert level(y.expand(-1, 3, -1, -1)) == pytest.approx(level(y))


@pytest.mark.parametrize("black", [-1.0, -0.9])
def test_a_night_sky_half_of_whose_noise_was_clipped(black: float) -> None:
    x = torch.full((1, 3, 128, 128), black)
    y = eight_bits(x + noise_like(x) * (25 / 127.5))
    assert level(y) == pytest.approx(25, rel=0.1)


def test_a_flat_frame_around_the_picture_does_not_hide_the_noise() -> None:
    x = photograph(PHOTOGRAPHS[1])
    y = torch.nn.functional.pad(eight_bits(x + noise_like(x) * (15 / 127.5)), (40, 40, 40, 40), value=-0.5)
    assert level(y) == pytest.approx(15, rel=0.1)


def test_nothing_is_found_where_there_is_nothing() -> None:
    assert level(torch.zeros(1, 3, 64, 64)) < 0.01
    assert level(torch.ones(1, 3, 64, 64)) < 0.01
    assert estimate_noise(torch.zeros(2, 3, 7, 5)).tolist() == [0.0, 0.0]
    assert estimate_poisson_gaussian(torch.zeros(1, 1, 3, 200))[0].tolist() == [0.0]


def test_pictures_of_a_batch_do_not_touch_each_other() -> None:
    x = photograph(PHOTOGRAPHS[0])[..., :128, :160]
    y = torch.cat([x + noise_like(x) * (s / 127.5) for s in (5, 40)])
    both = estimate_noise(y)
    assert both.shape == (2,) and torch.equal(both[1:], estimate_noise(y[1:]))
    assert (both * 127.5).tolist() == pytest.approx([5, 40], rel=0.12)


def test_correlated_and_colourless_noise_are_told_from_white() -> None:
    x = photograph(PHOTOGRAPHS[0])
    noise = noise_like(x) * (20 / 127.5)
    white = analyse_noise(x + noise)
    assert white.coarseness.item() == pytest.approx(1.0, abs=0.1) and white.chroma.item() == pytest.approx(1.0, abs=0.1)
    soft = analyse_noise(x + torch.nn.functional.avg_pool2d(noise, 3, 1, 1))
    assert soft.coarseness.item() > 1.3
    brightness = analyse_noise(x + noise[:, :1] + 0.2 * noise.flip(3))
    assert brightness.chroma.item() < 0.4


def test_noise_under_compression_shows_as_not_white() -> None:
    x = photograph(PHOTOGRAPHS[0])
    y = ((x + noise_like(x) * (20 / 127.5)).clamp(-1, 1) + 1.0) * 127.5
    stream = io.BytesIO()
    Image.fromarray(y[0].permute(1, 2, 0).round().byte().numpy()).save(stream, "JPEG", quality=75)
    found = analyse_noise(pixels(Image.open(stream)))
    assert found.coarseness.item() > 1.2 or found.chroma.item() < 0.8


@pytest.mark.parametrize("path", PHOTOGRAPHS, ids=lambda p: p.stem)
@pytest.mark.parametrize(("a01", "b01"), [(0.003, 0.005), (0.03, 0.02)])
@pytest.mark.parametrize("stored", [False, True], ids=["float", "8 bits"])
def test_shot_and_read_noise_of_photographs(path: Path, a01: float, b01: float, stored: bool) -> None:
    x = photograph(path)
    truth = PoissonGaussianNoise.from_unit_range(a01, b01)
    y = truth.sample(x, torch.Generator().manual_seed(3))
    a, b = estimate_poisson_gaussian(eight_bits(y) if stored else y)
    assert a.item() == pytest.approx(2 * a01, rel=0.15)
    for intensity in (0.3, 1.0, 1.8):
        sigma = float(truth.variance(torch.full((1, 1, 1, 1), intensity - 1.0)).sqrt())
        assert (a.item() * intensity + b.item() ** 2) ** 0.5 == pytest.approx(sigma, rel=0.1)


def test_noise_that_does_not_grow_has_no_gain() -> None:
    x = photograph(PHOTOGRAPHS[0])
    a, b = estimate_poisson_gaussian(x + 0.1 * noise_like(x))
    assert b.item() == pytest.approx(0.1, rel=0.05) and a.item() < 0.001


def test_shot_noise_on_a_ramp_with_texture() -> None:
    ramp = torch.linspace(-0.95, 0.95, 256).expand(1, 3, 192, 256).clone()
    ramp[..., :96, :] += 0.2 * torch.rand(1, 1, 96, 256, generator=torch.Generator().manual_seed(1))
    y = PoissonGaussianNoise(0.01, 0.03).sample(ramp, torch.Generator().manual_seed(2))
    a, b = estimate_poisson_gaussian(y)
    assert a.item() == pytest.approx(0.01, rel=0.15) and b.item() == pytest.approx(0.03, rel=0.3)


def test_pictures_without_values_are_refused() -> None:
    bad = torch.zeros(1, 3, 16, 16)
    bad[0, 0, 3, 3] = float("nan")
    for estimate in (estimate_noise, estimate_poisson_gaussian):
        with pytest.raises(ImageValueError, match="NaN"):
            estimate(bad)
        with pytest.raises(ImageValueError, match="N, C, H, W"):
            estimate(torch.zeros(3, 16, 16))
