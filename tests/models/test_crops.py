"""Crops: from within one picture, everywhere in it, any way round, at up to the wanted sharpness."""

import numpy as np
import pytest
import torch

from models.crops import Crops


def _coordinates(height: int, width: int) -> np.ndarray:
    """A picture whose pixels say where they are: row, column, number of the picture."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows, columns, np.full_like(rows, height)], axis=2).astype(np.uint8)


def test_crops_are_squares_of_one_picture_in_all_eight_ways() -> None:
    crops = next(Crops([_coordinates(40, 60), _coordinates(50, 30)], 16).batches(600, seed=0)).int()
    assert crops.shape == (600, 3, 16, 16)
    ways = set()
    for rows, columns, number in crops:
        assert number.unique().numel() == 1
        height, width = (40, 60) if number[0, 0] == 40 else (50, 30)
        assert rows.max() < height and columns.max() < width
        assert rows.max() - rows.min() == 15 and columns.max() - columns.min() == 15
        steps = [int(v) for v in (*(rows[0, 1] - rows[0, 0], rows[1, 0] - rows[0, 0]), columns[0, 1] - columns[0, 0])]
        ways.add((*steps, int(columns[1, 0] - columns[0, 0])))
        assert (rows == rows[0, 0] + steps[0] * torch.arange(16) + steps[1] * torch.arange(16)[:, None]).all()
    assert len(ways) == 8


def test_crops_are_uniform_over_pixels_and_reach_every_border() -> None:
    crops = next(Crops([_coordinates(40, 60), _coordinates(50, 30)], 16).batches(4000, seed=0)).int()
    first = crops[:, 2, 0, 0] == 40
    assert abs(first.float().mean().item() - 2400 / 3900) < 0.04
    rows, columns = crops[first, 0], crops[first, 1]
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (0, 39, 0, 59)


def test_every_other_crop_is_of_a_smaller_copy() -> None:
    ramp = np.broadcast_to(np.arange(200, dtype=np.uint8)[:, None, None], (200, 200, 3))
    crops = next(Crops([ramp] * 40, 16, shrink=0.5).batches(400, seed=0)).float()
    slopes = (crops.amax((1, 2, 3)) - crops.amin((1, 2, 3))) / 15.0
    untouched = torch.isclose(slopes, torch.ones(400))
    assert 150 <= int(untouched.sum()) <= 250
    assert 1.25 < slopes[~untouched].mean() < 1.6 and slopes.max() < 2.1


def test_share_of_synthetic_crops_is_the_wanted_one() -> None:
    grey = np.full((64, 64, 3), 77, np.uint8)
    crops = next(Crops([grey], 16, synthetic=0.2).batches(1000, seed=0))
    assert abs((crops != 77).any(3).any(2).any(1).float().mean().item() - 0.2) < 0.04


def test_same_seed_same_crops() -> None:
    crops = Crops([_coordinates(40, 60)], 16)
    assert torch.equal(next(crops.batches(8, 3)), next(crops.batches(8, 3)))
    assert not torch.equal(next(crops.batches(8, 3)), next(crops.batches(8, 4)))


def test_pictures_smaller_than_a_patch_are_left_out() -> None:
    crops = next(Crops([_coordinates(12, 90), _coordinates(40, 60)], 16).batches(50, seed=0))
    assert (crops[:, 2] == 40).all()
    with pytest.raises(ValueError, match="16 pixels"):
        Crops([_coordinates(12, 90)], 16)
