from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor

from restore.degradations import GaussianNoise, Grey, Mask
from restore.errors import ParameterError
from restore.prior import GaussianDenoiser, PriorInfo, operator_matrix, power_law_spectrum
from restore.sampling import Problem, RowNoise, Sampling, coarse_to_fine, few_step_sigmas, run, unified

SIDE = 12
FINE = GaussianDenoiser(torch.zeros(1, SIDE, SIDE), spectrum=power_law_spectrum(SIDE, SIDE))
GRIDS = (few_step_sigmas(6, start=1.0), few_step_sigmas(6, start=0.5))


def covariance() -> Tensor:
    """[d, d] of the full picture."""
    d = SIDE * SIDE
    noise = FINE(torch.eye(d).view(d, 1, SIDE, SIDE), torch.full((d,), 1.0)).view(d, d).double()
    # C (C + I)^-1 = K, hence C = K (I - K)^-1.
    return torch.linalg.solve((torch.eye(d) - noise).T, noise.T).T


def halving() -> Tensor:
    """[d / 4, d]: means of 2x2 pixels."""
    return operator_matrix(lambda x: torch.nn.functional.avg_pool2d(x.double(), 2).to(x), (1, SIDE, SIDE)).double()


COVARIANCE, HALVING = covariance(), halving()


class AtBothSizes:
    """The exact Gaussian prior, of pictures and of their 2x2 means."""

    def __init__(self) -> None:
        small = GaussianDenoiser(torch.zeros(1, SIDE // 2, SIDE // 2), HALVING @ COVARIANCE @ HALVING.T)
        self.by_side = {SIDE: FINE, SIDE // 2: small}
        self.info: PriorInfo = FINE.info
        self.sides: list[int] = []

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        self.sides.append(x.shape[-1])
        return self.by_side[x.shape[-1]](x, sigma)


def problem(noise: float = 0.0, rows: int = 64, seed: int = 0) -> tuple[Problem, Tensor]:
    """A hole of 4x4 in pictures of 12x12, and the pictures."""
    known = torch.ones(SIDE, SIDE, dtype=torch.bool)
    known[4:8, 4:8] = False
    pictures = FINE.sample(rows, torch.Generator().manual_seed(3))
    mask = Mask(known, GaussianNoise(noise))
    y = mask.forward(pictures + noise * RowNoise(9, range(rows)).like(pictures))
    return Problem(y, mask, FINE.info, RowNoise(seed, range(rows))), pictures


def solve(size: Problem, sigmas: object, fidelity: float = 1.0) -> Sampling:
    return unified(size, sigmas, fidelity=fidelity)  # type: ignore[arg-type]


def test_small_pictures_come_first_and_calls_are_counted_through() -> None:
    denoiser, seen = AtBothSizes(), []
    given, _ = problem(rows=2)
    x = run(coarse_to_fine(given, GRIDS, solve), denoiser, on_step=seen.append)
    assert denoiser.sides == [SIDE // 2] * 6 + [SIDE] * 6
    assert [p.step for p in seen] == list(range(12)) and {p.steps for p in seen} == {12}
    # A call at half the size is a quarter of the work.
    assert [p.fraction for p in seen] == pytest.approx([i / 30 for i in (*range(1, 7), *range(10, 31, 4))])
    known = given.degradation.known.expand_as(x)  # type: ignore[attr-defined]
    assert torch.equal(x[known], given.y[known])


def test_one_size_alone_is_the_sampler_itself() -> None:
    given, _ = problem(noise=0.05, rows=3)
    alone = run(solve(given, GRIDS[0], 0.5), FINE)
    given, _ = problem(noise=0.05, rows=3)
    assert torch.equal(run(coarse_to_fine(given, GRIDS[:1], partial(solve, fidelity=0.5)), FINE), alone)


def test_the_answer_is_the_posterior_mean_of_a_gaussian_prior() -> None:
    given, pictures = problem(noise=0.05, rows=256)
    x = run(coarse_to_fine(given, GRIDS, solve), AtBothSizes())
    seen = given.degradation.known.flatten()  # type: ignore[attr-defined]
    within = COVARIANCE[seen][:, seen] + 0.05**2 * torch.eye(int(seen.sum()), dtype=torch.float64)
    gain = torch.linalg.solve(within, COVARIANCE[seen]).T
    exact = (given.y.double().flatten(1)[:, seen] @ gain.T).view_as(pictures)
    hole = ~seen.view(SIDE, SIDE)
    least = (exact - pictures)[..., hole].square().mean()
    assert (x - exact)[..., hole].square().mean() < 0.1 * least


def test_a_rows_answer_does_not_depend_on_the_others() -> None:
    together = run(coarse_to_fine(problem(rows=4)[0], GRIDS, partial(solve, fidelity=0.0)), AtBothSizes())
    alone = run(coarse_to_fine(problem(rows=1)[0], GRIDS, partial(solve, fidelity=0.0)), AtBothSizes())
    torch.testing.assert_close(together[:1], alone, rtol=0, atol=1e-5)


def test_odd_sizes() -> None:
    prior = GaussianDenoiser(torch.zeros(1, 7, 5), spectrum=power_law_spectrum(7, 5))
    small = GaussianDenoiser(torch.zeros(1, 4, 3), spectrum=power_law_spectrum(4, 3))
    known = torch.ones(7, 5, dtype=torch.bool)
    known[3:7, 2:5] = False
    y = prior.sample(2, torch.Generator().manual_seed(1)) * known

    class Both:
        info = prior.info

        def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
            return (prior if x.shape[-1] == 5 else small)(x, sigma)

    x = run(coarse_to_fine(Problem(y, Mask(known), prior.info, RowNoise(0, range(2))), GRIDS, solve), Both())
    assert x.shape == y.shape and torch.equal(x[..., known], y[..., known])


def test_what_cannot_be_done_is_refused() -> None:
    given, _ = problem(rows=1)
    with pytest.raises(ParameterError, match="not in Grey"):
        run(coarse_to_fine(Problem(torch.zeros(1, 1, 8, 8), Grey(), FINE.info), GRIDS, solve), FINE)
    with pytest.raises(ParameterError, match="one size or more"):
        run(coarse_to_fine(given, (), solve), FINE)
