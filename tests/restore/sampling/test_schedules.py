from __future__ import annotations

import math
from itertools import pairwise

import pytest

from restore.errors import ParameterError
from restore.prior import PriorInfo
from restore.sampling import ddpm_grid, few_step_sigmas, full_range, log_grid, poly

GRIDS = [poly, log_grid, ddpm_grid, lambda n, high, low: ddpm_grid(n, high, low, power=2.0)]


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("steps", [2, 7, 100])
def test_a_grid_falls_strictly_between_its_ends(grid, steps):
    sigmas = grid(steps, 40.0, 0.01)
    assert len(sigmas) == steps
    assert sigmas[0] == pytest.approx(40.0)
    assert sigmas[-1] == pytest.approx(0.01)
    assert all(a > b for a, b in pairwise(sigmas))


@pytest.mark.parametrize("grid", GRIDS)
def test_one_step_is_the_first_level(grid):
    assert grid(1, 2.0, 0.1) == pytest.approx((2.0,))


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize(("steps", "high", "low"), [(0, 1.0, 0.1), (3, 0.1, 0.1), (3, 0.1, 1.0), (3, 1.0, 0.0)])
def test_an_impossible_grid_is_refused(grid, steps, high, low):
    with pytest.raises(ParameterError):
        grid(steps, high, low)


def test_poly_is_the_published_grid():
    """EDM's defaults for 18 steps, 80 to 0.002: the second level, worked out by hand."""
    second = (80 ** (1 / 7) + (0.002 ** (1 / 7) - 80 ** (1 / 7)) / 17) ** 7
    assert poly(18, 80.0, 0.002)[1] == pytest.approx(second)
    assert poly(3, 4.0, 1.0, rho=1.0) == pytest.approx((4.0, 2.5, 1.0))


def test_log_grid_has_a_constant_ratio():
    assert log_grid(3, 1.0, 0.01) == pytest.approx((1.0, 0.1, 0.01))


def test_ddpm_grid_matches_the_discrete_schedule():
    """Ho et al.: 1000 betas evenly spaced from 1e-4 to 0.02."""
    abar, sigmas = 1.0, []
    for i in range(1000):
        abar *= 1.0 - (1e-4 + (0.02 - 1e-4) * i / 999)
        sigmas.append(math.sqrt((1.0 - abar) / abar))
    grid = ddpm_grid(10, sigmas[899], sigmas[99])
    assert grid[4] == pytest.approx(sigmas[899 - round(4 * 800 / 9)], rel=0.02)


def test_few_step_grid_starts_higher_for_samples():
    assert few_step_sigmas(8)[0] == pytest.approx(0.5)
    assert few_step_sigmas(8, 0.0)[0] == pytest.approx(1.0)
    assert few_step_sigmas(8, 1.0, start=2.0)[0] == pytest.approx(2.0)
    assert few_step_sigmas(8)[-1] == pytest.approx(0.03)


def test_full_range_stays_within_what_the_prior_knows():
    sigmas = full_range(5, PriorInfo("narrow", sigma_min=0.02, sigma_max=3.0))
    assert sigmas[0] == pytest.approx(3.0)
    assert sigmas[-1] == pytest.approx(0.02)
