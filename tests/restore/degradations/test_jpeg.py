"""JPEG: the forward model is the library's, the gain step keeps to the file's cells."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import truncnorm
from torch import Tensor

from restore.degradations.jpeg import (
    JPEG,
    blocks_to_frequencies,
    quantisation_error,
    standard_tables,
    truncated_normal_mean,
)
from restore.errors import ParameterError

PHOTOGRAPHS = sorted((Path(__file__).parents[2] / "data").glob("*.png"))
SAMPLINGS = [((1, 1), 0), ((1, 2), 1), ((2, 2), 2)]


def pixels(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.asarray(image.convert("RGB")).copy()).permute(2, 0, 1)[None].float() / 127.5 - 1.0


def compressed(
    quality: int, subsampling: int, size: tuple[int, int] = (157, 101)
) -> tuple[Tensor, Tensor, Image.Image]:
    """A crop of a photograph with little clipping, what a real decoder makes of it, and the file."""
    original = Image.open(PHOTOGRAPHS[-1]).convert("RGB").crop((40, 40, 40 + size[0], 40 + size[1]))
    stream = io.BytesIO()
    original.save(stream, "JPEG", quality=quality, subsampling=subsampling)
    file = Image.open(stream)
    return pixels(original), pixels(file), file


@pytest.mark.parametrize("quality", [10, 35, 75, 92])
def test_standard_tables_are_the_encoders(quality: int) -> None:
    _, _, file = compressed(quality, 0)
    assert {k: tuple(t) for k, t in file.quantization.items()} == standard_tables(quality)


@pytest.mark.parametrize("quality", [10, 50, 85])
@pytest.mark.parametrize(("subsampling", "code"), SAMPLINGS)
def test_forward_is_what_a_real_encoder_and_decoder_do(quality: int, subsampling: tuple[int, int], code: int) -> None:
    x, y, _ = compressed(quality, code)
    ours = JPEG(standard_tables(quality), subsampling).forward(x)
    assert ours.shape == x.shape
    difference = (ours - y).abs() * 127.5
    assert (
        difference.mean() < 1.2 and difference.square().mean().sqrt() < 0.35 * (x - y).mul(127.5).square().mean().sqrt()
    )


@pytest.mark.parametrize("quality", [10, 50, 85])
@pytest.mark.parametrize(("subsampling", "code"), SAMPLINGS)
def test_cells_are_recovered_from_the_decoded_picture(quality: int, subsampling: tuple[int, int], code: int) -> None:
    x, y, _ = compressed(quality, code)
    degradation = JPEG(standard_tables(quality), subsampling)
    tables = degradation.tables
    written = [
        torch.round(blocks_to_frequencies(p.round()) / t) for p, t in zip(degradation._planes(x), tables, strict=True)
    ]
    for ours, theirs in zip(degradation.cells(y), written, strict=True):
        assert (ours != theirs).float().mean() < 0.03


@pytest.mark.parametrize(("subsampling", "code"), SAMPLINGS)
@pytest.mark.parametrize("v", [1e-6, 1e-3, 1.0])
def test_gain_step_lands_in_the_cells(subsampling: tuple[int, int], code: int, v: float) -> None:
    x, y, _ = compressed(30, code, (160, 96))
    degradation = JPEG(standard_tables(30), subsampling)
    d = (x + 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))).clamp(-1, 1)
    moved = degradation.gain_step(d, y, torch.tensor([v]))
    for plane, integers, table in zip(
        degradation._planes(moved), degradation.cells(y), degradation.tables, strict=True
    ):
        inside = (blocks_to_frequencies(plane) / table - integers).abs()
        assert inside.max() < 0.5 + 1e-3


def test_gain_step_leaves_what_is_consistent_and_certain() -> None:
    x, y, _ = compressed(50, 0, (160, 96))
    degradation = JPEG(standard_tables(50))
    moved = degradation.gain_step(x, y, torch.tensor([1e-8]))
    assert (moved - x).abs().max() < 0.02  # the encoder's own rounding
    assert (moved - y).abs().max() > 0.05


def test_gain_step_of_a_prior_that_knows_nothing_is_the_decoded_picture() -> None:
    _, y, _ = compressed(50, 0, (160, 96))
    degradation = JPEG(standard_tables(50))
    moved = degradation.gain_step(torch.zeros_like(y), y, torch.tensor([1e4]))
    assert (moved.clamp(-1, 1) - y).mul(127.5).square().mean().sqrt() < 1.5


def test_gain_step_brings_a_blurred_picture_closer() -> None:
    x, y, _ = compressed(30, 2, (160, 96))
    d = torch.nn.functional.avg_pool2d(x, 5, 1, 2, count_include_pad=False)
    v = (d - x).square().mean().view(1)
    moved = JPEG(standard_tables(30), (2, 2)).gain_step(d, y, v)
    assert (moved - x).square().mean() < 0.6 * (d - x).square().mean()


def test_rows_are_independent() -> None:
    x, y, _ = compressed(40, 2)
    degradation = JPEG(standard_tables(40), (2, 2))
    v = torch.tensor([1e-3, 1e-2])
    together = degradation.gain_step(torch.cat([x, x.flip(3)]), torch.cat([y, y]), v)
    alone = degradation.gain_step(x.flip(3), y, v[1:])
    torch.testing.assert_close(together[1:], alone, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("path", PHOTOGRAPHS, ids=lambda p: p.stem)
@pytest.mark.parametrize("quality", [10, 20, 40, 80])
@pytest.mark.parametrize(("subsampling", "code"), [SAMPLINGS[0], SAMPLINGS[2]])
def test_predicted_error_is_of_the_true_size(path: Path, quality: int, subsampling: tuple[int, int], code: int) -> None:
    original = Image.open(path).convert("RGB")
    stream = io.BytesIO()
    original.save(stream, "JPEG", quality=quality, subsampling=code)
    y = pixels(Image.open(stream))
    true = float((y - pixels(original)).square().mean().sqrt())
    predicted = float(JPEG(standard_tables(quality), subsampling).initial_estimate(y).sigma)
    assert 1 / 1.5 < predicted / true < 1.5


def test_quantisation_error_is_that_of_simulated_coefficients() -> None:
    steps = torch.tensor([4.0, 20.0, 60.0])
    uniform = torch.rand(3, 400_000, generator=torch.Generator().manual_seed(0)) - 0.5
    c = -10.0 * uniform.sign() * torch.log1p(-2.0 * uniform.abs())  # Laplace, scale 10
    integers = torch.round(c / steps[:, None])
    true = (c - steps[:, None] * integers).square().mean(1)
    torch.testing.assert_close(quantisation_error(integers.abs().mean(1), steps), true, rtol=0.05, atol=0.0)
    assert quantisation_error(torch.zeros(1), steps[:1]).item() == 0.0


def test_truncated_mean_agrees_with_scipy_far_into_the_tails() -> None:
    rng = np.random.default_rng(0)
    mean, deviation = rng.normal(0, 5, 400), np.exp(rng.uniform(-2, 4, 400))
    low = rng.normal(0, 10, 400)
    high = low + np.exp(rng.uniform(-1, 3, 400))
    near = (np.abs((low - mean) / deviation) < 25) | (np.abs((high - mean) / deviation) < 25)
    expected = truncnorm.mean((low - mean) / deviation, (high - mean) / deviation, loc=mean, scale=deviation)
    found = truncated_normal_mean(*(torch.tensor(a, dtype=torch.float32) for a in (mean, deviation, low, high)))
    error = np.abs(found.numpy() - expected) / (high - low)
    assert near.sum() > 300 and error[near].max() < 5e-3
    assert bool(((found >= torch.tensor(low).float() - 1e-3) & (found <= torch.tensor(high).float() + 1e-3)).all())


@pytest.mark.parametrize("tables", [{}, {0: (1,) * 63}, {0: (0,) * 64}])
def test_impossible_tables_are_refused(tables: dict[int, tuple[int, ...]]) -> None:
    with pytest.raises(ParameterError, match="64 positive"):
        JPEG(tables)
    with pytest.raises(ParameterError, match="1, 2 or 4"):
        JPEG(standard_tables(50), (3, 1))
    with pytest.raises(ParameterError, match="between 1 and 100"):
        standard_tables(0)
