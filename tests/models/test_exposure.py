from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from models.exposure import (
    ExposureNetwork,
    LearnedExposureEstimator,
    load_estimator,
    neutral_shadows,
    to_linear,
    to_srgb,
    tone_curve,
)
from models.exposure_training import darken, train_estimator

PHOTOGRAPHS = Path(__file__).parents[1] / "data"


def photograph(name: str = "budgie.png", size: int = 96) -> torch.Tensor:
    """[1, 3, size, size] sRGB in [0, 1]."""
    with Image.open(PHOTOGRAPHS / name) as file:
        pixels = np.asarray(file.convert("RGB").resize((size, size), Image.Resampling.BOX), np.float32)
    return torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255.0


def brighten(image: torch.Tensor, estimator: LearnedExposureEstimator) -> torch.Tensor:
    """Values [1, 3, H, W] in [-1, 1] through the estimated curve."""
    dark, bright = (t.numpy() for t in estimator(image))
    planes = [np.interp(image[0, c].numpy(), dark, bright[c]) for c in range(3)]
    return torch.from_numpy(np.stack(planes)).float()[None]


def test_unit_slopes_and_no_gain_leave_values_below_the_shoulder_alone() -> None:
    s = torch.linspace(0.0, 0.89, 50)
    out = tone_curve(to_linear(s).expand(1, 3, -1), torch.zeros(1, 3), torch.zeros(1, 3), torch.ones(1, 12), 1.8)
    assert torch.allclose(out, s.expand(1, 3, -1), atol=1e-5)


def test_any_parameters_give_an_increasing_curve_that_keeps_black() -> None:
    generator = torch.Generator().manual_seed(0)
    light = torch.linspace(0.0, 1.0, 400).square().expand(4, 3, -1)
    gain = torch.randn(4, 3, generator=generator) * 3.0
    slopes = torch.rand(4, 12, generator=generator) * 3.0 + 0.02
    black = torch.rand(4, 3, generator=generator) * 0.05
    out = tone_curve(light, black, gain, slopes, 1.8)
    assert (out.diff(dim=2) >= 0).all()
    assert (out <= 1.0).all()
    at_black = tone_curve(black[:, :, None], black, gain, slopes, 1.8)
    assert torch.allclose(at_black, torch.zeros_like(at_black), atol=1e-6)


def test_the_curve_is_smooth_across_its_knots() -> None:
    slopes = torch.rand(1, 12, generator=torch.Generator().manual_seed(1)) + 0.3
    encoded = torch.linspace(0.05, 0.6, 2001)
    out = tone_curve(to_linear(encoded).expand(1, 3, -1), torch.zeros(1, 3), torch.zeros(1, 3), slopes, 1.8)[0, 0]
    slope = out.diff() / encoded.diff()
    assert slope.diff().abs().max() < 0.01


def test_an_untrained_network_brings_each_channel_to_middle_grey() -> None:
    image = (photograph() * 0.2).clamp(0.0, 1.0) * 2.0 - 1.0
    bright = brighten(image, LearnedExposureEstimator(ExposureNetwork().eval()))
    means = to_linear((bright + 1.0) / 2.0).mean((0, 2, 3))
    assert means.min() > 0.05
    assert means.max() < 0.4


def test_darkening_takes_light_away_on_eight_bit_levels() -> None:
    bright = photograph(size=64).expand(8, -1, -1, -1)
    dark = darken(bright, torch.Generator().manual_seed(0))
    assert (dark.mean((1, 2, 3)) < bright.mean((1, 2, 3))).all()
    assert torch.allclose(dark * 255.0, (dark * 255.0).round(), atol=1e-4)
    assert torch.equal(dark, darken(bright, torch.Generator().manual_seed(0)))


def test_the_shipped_estimator_restores_tone_and_colour_of_a_darkened_photograph() -> None:
    photo = photograph("clouds.png")
    tint = torch.tensor([1.6, 1.0, 0.7]).view(1, 3, 1, 1)
    dark = (to_srgb(to_linear(photo) * tint / 2.0**4) * 255.0).round() / 255.0
    bright = (brighten(dark * 2.0 - 1.0, load_estimator()) + 1.0) / 2.0
    error = (bright - photo).square().mean().sqrt()
    untouched = (dark - photo).square().mean().sqrt()
    assert error < 0.5 * untouched
    cast = (bright - photo).mean((0, 2, 3))
    assert (cast - cast.mean()).abs().max() < 0.1


def test_the_darkest_pixels_lose_their_tint_and_bright_tones_keep_theirs() -> None:
    tint = torch.tensor([0.0, 0.02, 0.1]).view(3, 1)
    curve = torch.linspace(0.0, 1.0, 101).expand(3, -1) * (1.0 - tint) + tint  # black comes out blue
    light = torch.linspace(0.0, 1.0, 101).expand(3, -1)
    out = neutral_shadows(curve, curve, light)
    assert out[:, 0].std() < 0.01 < curve[:, 0].std()
    assert (out.diff(dim=1) > 0).all()
    bright = curve.amin(0) > 0.4
    assert torch.equal(out[:, bright], curve[:, bright])


def test_training_writes_an_estimator_that_loads(tmp_path: Path) -> None:
    data, out = tmp_path / "photographs", tmp_path / "out"
    data.mkdir()
    for name in ("budgie.png", "clouds.png", "colosseum.png"):
        shutil.copy(PHOTOGRAPHS / name, data / name)
    *_, last = train_estimator(data, out, seconds=1.0, batch=4)
    assert last["done"]
    assert json.loads((out / "digest.json").read_text())["sha256"] == load_estimator(out).digest


def test_training_without_photographs_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="photographs"):
        next(train_estimator(tmp_path, tmp_path / "out", seconds=1.0))
