from __future__ import annotations

import pytest
import torch
from torch import Tensor

from restore.degradations import Identity
from restore.degradations.noise import GaussianNoise
from restore.errors import ParameterError
from restore.prior.protocol import PriorInfo
from restore.sampling import Problem, run, self_ensemble
from restore.sampling.ensemble import ORIENTATIONS, oriented, upright


class Crooked:
    """Errs towards one corner, as a network that is not quite symmetric does."""

    info = PriorInfo("crooked")

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        return x + torch.linspace(-1, 1, height)[:, None] + torch.linspace(-1, 1, width)


def problem() -> Problem:
    y = torch.rand(1, 3, 6, 10, generator=torch.Generator().manual_seed(0))
    return Problem(y, Identity(GaussianNoise(0.1)), Crooked.info)


def test_every_orientation_is_undone() -> None:
    x = problem().y
    seen = [oriented(x, k) for k in range(ORIENTATIONS)]
    assert all(torch.equal(upright(o, k), x) for k, o in enumerate(seen))
    assert len({tuple(o.flatten().tolist()) for o in seen}) == ORIENTATIONS


def test_errors_of_opposite_orientations_cancel() -> None:
    given = problem()
    one, all_of_them = run(self_ensemble(given, steps=1), Crooked()), run(self_ensemble(given), Crooked())
    assert (one - given.y).abs().max() > 1.5
    assert torch.allclose(all_of_them, given.y, atol=1e-6)


@pytest.mark.parametrize("steps", [0, 9])
def test_there_are_eight_orientations(steps: int) -> None:
    with pytest.raises(ParameterError, match="8 orientations"):
        run(self_ensemble(problem(), steps=steps), Crooked())
