"""Large holes are filled on small pictures first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from models.registry import load_denoiser
from restore import Restorer
from restore.errors import ParameterError
from restore.evaluate import psnr
from restore.prior.protocol import Denoiser, PriorInfo
from restore.tasks.inpaint import (
    MEAN_REACH,
    SAMPLE_REACH,
    SMALL_MEAN,
    SMALL_SAMPLE,
    SMOOTH,
    STEPS,
    STEPS_A_SIZE,
    deepest,
    halvings,
    levels,
)

PHOTOGRAPH = Path(__file__).parents[2] / "data" / "clouds.png"


class Recording:
    """The embedded prior, the sizes of its calls remembered."""

    def __init__(self) -> None:
        self._denoiser: Denoiser = load_denoiser(runtime="torch")
        self.sides: list[int] = []

    @property
    def info(self) -> PriorInfo:
        return self._denoiser.info

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        self.sides.append(x.shape[-1])
        return self._denoiser(x, sigma)


@pytest.fixture(scope="module")
def recording() -> Recording:
    return Recording()


@pytest.fixture(scope="module")
def photograph() -> Tensor:
    """[1, 3, 128, 128] in [0, 1]."""
    with Image.open(PHOTOGRAPH) as file:
        pixels = np.asarray(file.convert("RGB").crop((40, 40, 168, 168)), np.float32)
    return torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255.0


def hole(side: int) -> Tensor:
    mask = torch.zeros(128, 128, dtype=torch.bool)
    mask[40 : 40 + side, 50 : 50 + side] = True
    return mask


def test_a_large_hole_is_filled_from_small_to_large(recording: Recording, photograph: Tensor) -> None:
    recording.sides.clear()
    mask = hole(48)
    result = Restorer(recording).inpaint(photograph * ~mask, mask=mask, steps=6)
    assert recording.sides == [32, 32, 64, 64, 128, 128]
    assert result.report["nfe"] == 6 and result.report["found"]["sizes"] == 3
    assert result.report["found"]["furthest"] == 24.0
    assert result.report["warnings"] == [SMOOTH]
    known = (~mask).expand(1, 3, -1, -1)
    torch.testing.assert_close(result.tensor[known], photograph[known] * 2.0 - 1.0)
    # Grey, which is what a prior that sees no end of the hole would answer, is far off in a sky.
    inside = (result.tensor - (photograph * 2.0 - 1.0))[..., mask]
    assert psnr(torch.zeros(1, 3, 1, 1), inside.mean(-1).view(1, 3, 1, 1)).item() > 20.0


def test_small_holes_need_one_size(recording: Recording, photograph: Tensor) -> None:
    recording.sides.clear()
    mask = hole(3)
    result = Restorer(recording).inpaint(photograph * ~mask, mask=mask)
    assert recording.sides == [128] * STEPS and result.report["found"]["sizes"] == 1
    assert not result.report["warnings"]


def test_calls_by_size_unless_a_number_is_given(recording: Recording, photograph: Tensor) -> None:
    recording.sides.clear()
    mask = hole(48)
    result = Restorer(recording).inpaint(photograph * ~mask, mask=mask)
    assert result.report["nfe"] == len(recording.sides) == 3 * STEPS_A_SIZE == result.parameters["steps"]
    recording.sides.clear()
    assert Restorer(recording).inpaint(photograph * ~mask, mask=mask, steps=1).report["found"]["sizes"] == 1
    assert recording.sides == [128]


def square(reach: int, side: int) -> Tensor:
    """Known pixels around a hole whose middle is `reach` away from them."""
    known = torch.ones(1, 1, side, side, dtype=torch.bool)
    known[..., 10 : 9 + 2 * reach, 10 : 9 + 2 * reach] = False
    return known


@pytest.mark.parametrize(
    ("fidelity", "small", "narrow"), [(1.0, SMALL_MEAN, MEAN_REACH), (0.0, SMALL_SAMPLE, SAMPLE_REACH)]
)
def test_how_often_a_picture_is_halved(fidelity: float, small: float, narrow: float) -> None:
    def halved(reach: float, smallest: int) -> int:
        return halvings(square(int(reach), 600), int(reach), smallest, fidelity)

    assert halved(small, 32) == 0
    assert halved(small + 1, 32) >= 1
    assert halved(8 * narrow, 32) == 3
    assert halved(8 * narrow, 200) == 1
    assert halved(8 * narrow, 301) == 0


def test_scattered_pixels_are_not_lost_by_halving() -> None:
    assert deepest(square(48, 256)) == 48.0
    known = square(48, 256) & (torch.rand(1, 1, 256, 256, generator=torch.Generator().manual_seed(0)) < 0.1)
    assert halvings(known, deepest(known), 32, 1.0) == 0


def test_a_hole_that_touches_the_border_is_deeper() -> None:
    known = torch.ones(1, 1, 20, 30, dtype=torch.bool)
    known[..., 5:10, 8:13] = False
    assert deepest(known) == 3.0
    known[..., 0:10, 8:28] = False
    assert deepest(known) == 10.0
    assert deepest(torch.ones(1, 1, 4, 4, dtype=torch.bool)) == 0.0


@pytest.mark.parametrize(("steps", "sizes"), [(24, 1), (48, 4), (7, 3), (3, 3)])
@pytest.mark.parametrize("fidelity", [0.0, 1.0])
def test_levels_of_every_size(steps: int, sizes: int, fidelity: float) -> None:
    grids = levels(steps, sizes, fidelity)
    assert len(grids) == sizes and sum(map(len, grids)) == steps
    assert grids[0][0] == pytest.approx(1.0)
    assert all(grid[0] < 1.0 for grid in grids[1:])


def test_a_mask_over_everything_is_refused(recording: Recording, photograph: Tensor) -> None:
    with pytest.raises(ParameterError, match="covers the whole picture"):
        Restorer(recording).inpaint(photograph, mask=torch.ones(128, 128))
