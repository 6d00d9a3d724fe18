from __future__ import annotations

import io

import numpy as np
import pytest
import pyvips
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from service.doors.fitting import SCALES, Fit, fit_factor, fit_size, fitted


@given(st.integers(2, 4000), st.integers(2, 4000), st.floats(1.001, 8.0))
def test_a_factor_is_met_from_the_next_larger_scale(width: int, height: int, factor: float) -> None:
    fit = fit_factor(width, height, factor)
    assert fit is not None and fit.scale == min(scale for scale in SCALES if scale >= factor)
    assert fit.width <= fit.scale * width and fit.height <= fit.scale * height
    assert abs(fit.width - factor * width) < 1 + 1e-6 and abs(fit.height - factor * height) < 1 + 1e-6


@given(st.integers(2, 2000), st.integers(2, 2000), st.integers(1, 9000), st.integers(1, 9000))
def test_a_size_is_covered_and_cut_out(width: int, height: int, wide: int, high: int) -> None:
    factor = max(wide / width, high / height)
    fit = fit_size(width, height, (wide, high), crop=True)
    assert (fit is None) == (not 1.0 < factor <= 8.0)
    if fit is not None:
        assert fit.width >= wide and fit.height >= high
        assert fit.width <= fit.scale * width and fit.height <= fit.scale * height
        assert (fit.crop or (fit.width, fit.height)) == (wide, high)
        assert fit_size(width, height, (wide, high), crop=False) == Fit(fit.scale, fit.width, fit.height)


@pytest.mark.parametrize("factor", [0.5, 1.0, 8.01, float("inf")])
def test_other_factors_cannot_be_met(factor: float) -> None:
    assert fit_factor(100, 100, factor) is None


def png(values: np.ndarray) -> bytes:
    image = pyvips.Image.new_from_array(values)
    return image.write_to_buffer(".png")  # type: ignore[no-any-return]


def test_what_has_the_size_is_not_touched() -> None:
    data = png(np.zeros((32, 40, 3), np.uint8))
    assert fitted(data, Fit(2, 40, 32)) is data


def test_reduction_is_lanczos_as_pillow_has_it() -> None:
    values = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
    smooth = np.asarray(Image.fromarray(values).resize((160, 120)).reduce(2).resize((160, 120)))
    made = np.asarray(Image.open(io.BytesIO(fitted(png(smooth), Fit(2, 100, 75)))))
    wanted = np.asarray(Image.fromarray(smooth).resize((100, 75), Image.Resampling.LANCZOS))
    assert made.shape == wanted.shape
    assert np.abs(made.astype(int) - wanted.astype(int)).mean() < 2.0


def test_sixteen_bits_stay_and_the_middle_is_cut_out() -> None:
    ramp = np.linspace(0, 65535, 80)[None, :, None] + np.zeros((64, 1, 3))
    image = pyvips.Image.new_from_array(ramp.astype(np.uint16)).copy(interpretation="rgb16")
    data = fitted(image.write_to_buffer(".png"), Fit(2, 60, 48, (30, 48)))
    found = pyvips.Image.new_from_buffer(data, "").numpy()
    assert found.dtype == np.uint16 and found.shape == (48, 30, 3)
    # Columns 15 to 44 of 60: the middle half of the ramp.
    assert (
        abs(float(found[:, 0].mean()) / 65535 - 0.25) < 0.02 and abs(float(found[:, -1].mean()) / 65535 - 0.75) < 0.02
    )


def test_a_prior_with_one_scale_is_asked_for_that() -> None:
    assert fit_factor(40, 32, 1.5, (4,)) == Fit(4, 60, 48)
    assert fit_factor(40, 32, 4.5, (4,)) is None
    assert fit_size(40, 32, (160, 128), False, (4,)) == Fit(4, 160, 128)
