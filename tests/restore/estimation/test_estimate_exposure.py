from __future__ import annotations

import pytest
import torch

from restore.degradations.exposure import linear_light, srgb
from restore.errors import ParameterError
from restore.estimation.exposure import (
    estimate_exposure,
    increasing,
    installed_estimators,
    load_exposure_estimator,
    reinhard,
    stops_curve,
)


def scene(seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 8, 8, generator=generator)
    return torch.nn.functional.interpolate(coarse, (64, 64), mode="bilinear") * 1.4 - 0.8


def test_classical_estimate_brings_a_dark_picture_near_middle_grey() -> None:
    dark = srgb(linear_light(scene()) / 2.0**4)
    light = linear_light(estimate_exposure(dark, reinhard).brighten(dark))
    assert 0.08 < light.mean() < 0.4


def test_classical_estimate_does_not_darken_a_bright_picture() -> None:
    bright = torch.full((1, 3, 16, 16), 0.8)
    assert (estimate_exposure(bright, reinhard).brighten(bright) >= bright - 1e-3).all()


@pytest.mark.parametrize("image", [torch.full((1, 3, 8, 8), -1.0), torch.full((1, 3, 8, 8), 1.0)])
def test_pictures_all_black_or_white_give_a_usable_curve(image: torch.Tensor) -> None:
    assert torch.isfinite(estimate_exposure(image, reinhard).brighten(image)).all()


def test_stops_double_the_light_of_shadows() -> None:
    dark = srgb(torch.full((1, 3, 2, 2), 0.001))
    assert linear_light(stops_curve(3.0).brighten(dark)).mean() == pytest.approx(0.008, rel=0.02)
    assert linear_light(stops_curve(-1.0).brighten(dark)).mean() == pytest.approx(0.0005, rel=0.02)


def test_black_stays_black() -> None:
    black = torch.full((1, 3, 2, 2), -1.0)
    assert torch.allclose(stops_curve(5.0).brighten(black), black, atol=1e-5)


def test_flat_knots_are_made_to_rise() -> None:
    curve = increasing(torch.linspace(-1, 1, 9), torch.zeros(3, 9))
    assert (curve.bright.diff(dim=1) > 0).all()
    x = curve.brighten(torch.full((1, 3, 1, 1), 0.3))
    assert torch.allclose(curve.darken(x), torch.full((1, 3, 1, 1), 0.3), atol=1e-2)


def test_an_unknown_estimator_is_named_with_those_installed() -> None:
    assert "classical" in installed_estimators()
    with pytest.raises(ParameterError, match=r"nonesuch.*classical"):
        load_exposure_estimator("nonesuch")
