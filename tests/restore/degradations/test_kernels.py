from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from restore.degradations import as_kernel, defocus_kernel, gaussian_kernel, line_kernel, motion_kernel
from restore.errors import ParameterError


def moments(kernel: torch.Tensor) -> tuple[float, float, float, float]:
    """Centre (y, x) from the middle pixel, and variances."""
    h, w = kernel.shape
    y = torch.arange(h).double() - h // 2
    x = torch.arange(w).double() - w // 2
    rows, columns = kernel.double().sum(1), kernel.double().sum(0)
    my, mx = float((rows * y).sum()), float((columns * x).sum())
    return my, mx, float((rows * (y - my) ** 2).sum()), float((columns * (x - mx) ** 2).sum())


@settings(max_examples=30, deadline=None)
@given(st.floats(0.3, 6.0))
def test_gaussian_and_disc_have_their_width_and_are_symmetric(width: float) -> None:
    for kernel in (gaussian_kernel(width), defocus_kernel(width)):
        assert float(kernel.sum()) == pytest.approx(1.0, abs=1e-5)
        torch.testing.assert_close(kernel, kernel.flip(0))
        torch.testing.assert_close(kernel, kernel.T)
    if width > 1.0:
        assert moments(gaussian_kernel(width))[2] == pytest.approx(width**2, rel=0.02)
    if width > 2.0:
        # A disc of radius r has variance r^2 / 4 along each axis; pixels add 1/12.
        assert moments(defocus_kernel(width))[3] == pytest.approx(width**2 / 4 + 1 / 12, rel=0.1)


def test_line_has_its_length_and_direction() -> None:
    flat = line_kernel(9.0, 0.0)
    assert float(flat[flat.shape[0] // 2].sum()) == pytest.approx(1.0)
    assert moments(flat)[3] == pytest.approx(81 / 12, rel=0.1)
    rising = line_kernel(9.0, 45.0)
    # Anticlockwise: right means up, and rows are counted downwards.
    assert float(rising[:5, 6:].sum()) > 0.3
    assert float(rising[6:, 6:].sum()) == 0.0
    torch.testing.assert_close(rising, rising.flip(0, 1), rtol=1e-4, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**9), st.sampled_from([3, 9, 25, 41]), st.floats(0.0, 1.0, allow_subnormal=False))
def test_motion_is_reproducible_centred_and_inside(seed: int, size: int, unsteadiness: float) -> None:
    kernel = motion_kernel(seed, size, unsteadiness)
    assert kernel.shape == (size, size)
    assert float(kernel.min()) >= 0.0 and float(kernel.sum()) == pytest.approx(1.0, abs=1e-5)
    torch.testing.assert_close(kernel, motion_kernel(seed, size, unsteadiness), rtol=0, atol=0)
    my, mx, _, _ = moments(kernel)
    assert math.hypot(my, mx) < 0.05


def test_motion_seeds_differ() -> None:
    assert float((motion_kernel(0) - motion_kernel(1)).abs().max()) > 0.001


def test_user_kernels_are_normalised() -> None:
    for values in (np.ones((3, 5), np.uint8), torch.ones(1, 1, 3, 5), [[2.0] * 5] * 3):
        torch.testing.assert_close(as_kernel(values), torch.full((3, 5), 1 / 15))


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"a": 1}, "array of numbers"),
        ("a word", "gaussian:SIGMA"),
        ("gaussian:wide", "gaussian:SIGMA"),
        ("gaussian:1:2", "gaussian:SIGMA"),
        ("motion:5", "LENGTH:ANGLE"),
        ("defocus:-1", "radius"),
        ([1.0, 2.0], "shape"),
        (torch.ones(2, 3, 3), "shape"),
        (torch.zeros(0, 3), "shape"),
        (torch.ones(4, 4), "odd sides"),
        (torch.full((3, 3), float("inf")), "NaN or infinity"),
        (-torch.ones(3, 3), "negative"),
        (torch.zeros(3, 3), "all zeros"),
    ],
)
def test_unusable_kernels_are_named(values: object, named: str) -> None:
    with pytest.raises(ParameterError, match=named):
        as_kernel(values)


def test_impossible_parameters_are_named() -> None:
    calls: tuple[Callable[[], torch.Tensor], ...] = (
        lambda: gaussian_kernel(0.0),
        lambda: gaussian_kernel(1.0, 4),
        lambda: defocus_kernel(float("nan")),
        lambda: line_kernel(-1.0, 0.0),
        lambda: line_kernel(3.0, float("inf")),
        lambda: motion_kernel(0, 1),
        lambda: motion_kernel(0, 9, 2.0),
    )
    for call in calls:
        with pytest.raises(ParameterError):
            call()


def test_kernels_by_formula_are_those_of_their_functions() -> None:
    for text, kernel in (
        ("gaussian:1.5", gaussian_kernel(1.5)),
        ("defocus:3", defocus_kernel(3.0)),
        ("motion:7:-30", line_kernel(7.0, -30.0)),
    ):
        assert torch.equal(as_kernel(text), kernel)
