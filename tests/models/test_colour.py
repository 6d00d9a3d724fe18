from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from models.colour import (
    ColourNetwork,
    Following,
    LearnedColourEstimator,
    differences,
    load_estimator,
    luma_of,
    main,
)
from models.colour_training import SIDE, STORED, colour_loss, train_estimator, varied

PHOTOGRAPHS = Path(__file__).parents[1] / "data"
NAMES = ("budgie.png", "clouds.png", "colosseum.png")


def photograph(name: str) -> torch.Tensor:
    """[1, 3, H, W] sRGB in [-1, 1]."""
    with Image.open(PHOTOGRAPHS / name) as file:
        pixels = np.asarray(file.convert("RGB"), np.float32)
    return torch.from_numpy(pixels).permute(2, 0, 1)[None] / 127.5 - 1.0


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (37, 53), (300, 130), (5, 2600)])
def test_a_picture_of_any_size_keeps_its_luma(size: tuple[int, int]) -> None:
    luma = torch.rand(1, 1, *size, generator=torch.Generator().manual_seed(0)) * 2.0 - 1.0
    picture, deviation = load_estimator()(luma)
    assert picture.shape == (1, 3, *size)
    assert deviation.shape == (1, 1, *size)
    torch.testing.assert_close(luma_of(picture), luma, atol=1e-5, rtol=0.0)
    assert (deviation > 0.0).all()
    assert (deviation <= 1.0).all()


def test_an_untrained_network_answers_grey() -> None:
    luma = luma_of(photograph("clouds.png"))
    picture, _ = LearnedColourEstimator(ColourNetwork().eval())(luma)
    torch.testing.assert_close(picture, luma.expand(-1, 3, -1, -1), atol=1e-5, rtol=0.0)


def test_colour_differences_carry_no_luma() -> None:
    red_blue = torch.randn(2, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    rgb = differences(red_blue)
    torch.testing.assert_close(luma_of(rgb), torch.zeros(2, 1, 4, 4), atol=1e-5, rtol=0.0)
    torch.testing.assert_close(rgb[:, ::2], red_blue)


def test_colours_end_where_the_picture_has_an_edge() -> None:
    full = torch.full((1, 1, 256, 256), -0.5)
    full[..., 130:] = 0.5  # not on the reduced grid
    small = torch.nn.functional.avg_pool2d(full, 8)
    values = 0.3 * small
    brought = Following(values, small, (256, 256)).rows(0, full)
    assert (brought - 0.3 * full).abs().max() < 0.02
    stretched = torch.nn.functional.interpolate(values, (256, 256), mode="bilinear")
    assert (stretched - 0.3 * full).abs().max() > 0.1


@pytest.mark.parametrize("size", [(7, 9), (1, 1), (50, 30)])
def test_some_rows_are_those_of_the_whole(size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    values, guide = torch.randn(1, 2, *size, generator=generator), torch.randn(1, 1, *size, generator=generator)
    flat = torch.zeros(1, 1, 61, 83)
    following = Following(values, guide, (61, 83))
    parts = [following.rows(top, flat[:, :, top : top + 10]) for top in range(0, 61, 10)]
    torch.testing.assert_close(torch.cat(parts, 2), following.rows(0, flat))
    # Where the picture is 0 only the offsets are left: stretched as interpolate() does.
    offset = following._line[:, 2:]
    stretched = torch.nn.functional.interpolate(offset, (61, 83), mode="bilinear")
    torch.testing.assert_close(following.rows(0, flat), stretched, atol=1e-5, rtol=1e-5)


def test_what_the_network_is_shown_is_the_luma_of_what_it_is_asked_for() -> None:
    stored = torch.rand(16, 3, STORED, STORED, generator=torch.Generator().manual_seed(0))
    luma, picture = varied(stored, torch.Generator().manual_seed(1))
    assert luma.shape == (16, 1, SIDE, SIDE)
    apart = (luma - luma_of(picture)).abs().amax((1, 2, 3))
    assert 4 <= (apart < 1e-6).sum() <= 14  # the others got noise or a blur
    assert torch.equal(luma, varied(stored, torch.Generator().manual_seed(1))[0])


def test_the_variance_learns_the_error_and_leaves_the_mean_alone() -> None:
    picture = photograph("budgie.png")[..., :SIDE, :SIDE]
    gradients = []
    for log_variance in (-10.0, -0.5):
        network = ColourNetwork().eval()
        assert network.tail.bias is not None
        with torch.no_grad():
            network.tail.bias[2] = log_variance
        colour_loss(network, luma_of(picture), picture)[0].backward()
        assert network.tail.bias.grad is not None
        gradients.append(network.tail.bias.grad)
    small, large = gradients
    assert small[2] < 0.0 < large[2]  # more variance is wanted, less is
    torch.testing.assert_close(small[:2], large[:2])


@pytest.mark.parametrize("name", NAMES)
def test_the_shipped_estimators_colours_are_nearer_than_grey(name: str) -> None:
    truth = photograph(name)
    luma = luma_of(truth)
    picture, _ = load_estimator()(luma)
    assert (picture - truth).square().mean() < (luma - truth).square().mean()


def test_the_shipped_estimator_knows_how_wrong_it_may_be() -> None:
    error = expected = 0.0
    for truth in map(photograph, NAMES):
        picture, deviation = load_estimator()(luma_of(truth))
        error += float((picture - truth).square().sum(1).mean())
        expected += float(2.0 * deviation.square().mean())
    assert 0.25 < error / expected < 2.0


def test_training_writes_an_estimator_that_loads(tmp_path: Path) -> None:
    data, out = tmp_path / "photographs", tmp_path / "out"
    data.mkdir()
    for name in NAMES:
        shutil.copy(PHOTOGRAPHS / name, data / name)
    *_, last = train_estimator(data, out, seconds=1.0, batch=2)
    assert last["done"]
    assert json.loads((out / "digest.json").read_text())["sha256"] == load_estimator(out).digest
    further, mean = tmp_path / "further", tmp_path / "mean"
    list(train_estimator(data, further, seconds=1.0, batch=2, seed=1, start_from=out))
    main(["average", str(out), str(further), "--data", str(data), "--out", str(mean)])
    first, second, between = (load_estimator(folder).network.tail.weight for folder in (out, further, mean))
    assert not torch.equal(first, second)
    torch.testing.assert_close(between, (first + second) / 2.0, atol=1e-3, rtol=1e-3)


def test_training_without_colour_photographs_says_so(tmp_path: Path) -> None:
    with Image.open(PHOTOGRAPHS / NAMES[0]) as file:
        file.convert("L").save(tmp_path / "grey.png")
    with pytest.raises(FileNotFoundError, match="colour photographs"):
        next(train_estimator(tmp_path, tmp_path / "out", seconds=1.0))
