from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from restore.degradations import Identity
from restore.degradations.exposure import Exposure
from restore.errors import ParameterError
from restore.estimation.dark_noise import ChannelNoise
from restore.estimation.exposure import stops_curve
from restore.prior.protocol import PriorInfo
from restore.sampling.driver import run
from restore.sampling.graded import graded
from restore.sampling.protocol import Problem


class Smoothing:
    """Adds what it was told: the answer shows which level each pixel was denoised at."""

    info = PriorInfo("smoothing")

    def __init__(self) -> None:
        self.sigmas: list[torch.Tensor] = []

    def __call__(self, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        self.sigmas.append(sigma)
        return x + sigma.view(-1, 1, 1, 1)


def problem(rows: int = 1) -> Problem:
    bright = torch.linspace(-0.9, 0.8, 96).expand(rows, 3, 64, 96)
    exposure = Exposure(stops_curve(4.0), noise=ChannelNoise(torch.full((3,), 2e-5), torch.full((3,), 0.002)))
    return Problem(exposure.forward(bright), exposure, Smoothing.info)


@pytest.mark.parametrize("steps", [1, 2, 3, 5])
def test_makes_as_many_calls_as_asked_at_falling_levels(steps: int) -> None:
    denoiser = Smoothing()
    run(graded(problem(), steps), denoiser)
    levels = [float(s) for s in denoiser.sigmas]
    assert len(levels) == steps
    assert all(a > b for a, b in pairwise(levels))


def test_each_pixel_is_denoised_at_its_own_level() -> None:
    case = problem()
    told = run(graded(case, 5), Smoothing()) - case.degradation.brighten(case.y)
    true = case.degradation.bright_variance(case.y).sqrt()
    inside = (true > true.quantile(0.1)) & (true < true.quantile(0.9))
    assert torch.allclose(told[inside], true[inside], rtol=0.15)


def test_rows_do_not_depend_on_each_other() -> None:
    one = problem()
    brighter = Problem(one.y * 0.5, one.degradation, one.prior)
    both = Problem(torch.cat([one.y, brighter.y]), one.degradation, one.prior)
    together = run(graded(both), Smoothing())
    assert torch.equal(together[:1], run(graded(one), Smoothing()))
    assert torch.equal(together[1:], run(graded(brighter), Smoothing()))


def test_another_degradation_is_refused() -> None:
    with pytest.raises(ParameterError, match="Identity"):
        run(graded(Problem(torch.zeros(1, 3, 8, 8), Identity(), Smoothing.info)), Smoothing())
