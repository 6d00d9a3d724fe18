"""Large pictures are worked through in strips: the answers are those of the whole picture."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from restore.degradations import Blur, GaussianNoise, Mask, PoissonGaussianNoise
from restore.degradations.exposure import Exposure, ToneCurve
from restore.degradations.jpeg import JPEG, standard_tables
from restore.degradations.noise import PerPixelGaussianNoise
from restore.degradations.planes import by_strips

SIZE = (117, 83)


@pytest.fixture
def in_strips(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From this call on pictures count as large."""

    def begin() -> None:
        for module in ("planes", "jpeg", "blur"):
            monkeypatch.setattr(f"restore.degradations.{module}.LIMIT", 2000)

    return begin


def picture(rows: int, seed: int) -> Tensor:
    """Smooth, with some noise."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(rows, 3, 9, 7, generator=generator) * 1.8 - 0.9
    smooth = torch.nn.functional.interpolate(coarse, SIZE, mode="bicubic")
    return (smooth + 0.05 * torch.randn(smooth.shape, generator=generator)).clamp(-1.0, 1.0)


def known(rows: int) -> Tensor:
    return torch.rand(rows, 1, *SIZE, generator=torch.Generator().manual_seed(9)) < 0.7


def tone_curve() -> ToneCurve:
    dark = torch.linspace(-1.0, 1.0, 17)
    return ToneCurve(dark, torch.stack([2.0 * ((dark + 1.0) / 2.0) ** p - 1.0 for p in (0.4, 0.5, 0.6)]))


DEGRADATIONS = {
    "mask": lambda: Mask(known(2), GaussianNoise(0.1)),
    "mask, one for all, exact": lambda: Mask(known(1)),
    "mask, noise map": lambda: Mask(known(2), PerPixelGaussianNoise(picture(1, 5).abs())),
    "exposure": lambda: Exposure(tone_curve(), noise=PoissonGaussianNoise(0.01, 0.02)),
    "exposure, gain map": lambda: Exposure(tone_curve(), 1.0 + picture(1, 6)[:, :1].abs(), GaussianNoise(0.02)),
    "blur": lambda: Blur(torch.rand(5, 7, generator=torch.Generator().manual_seed(3)), "valid", GaussianNoise(0.1)),
    "blur, noise map": lambda: Blur(
        torch.ones(5, 5) / 25.0, "reflect", PerPixelGaussianNoise(picture(1, 5).abs() + 0.1)
    ),
    "JPEG 4:4:4": lambda: JPEG(standard_tables(30)),
    "JPEG 4:2:2": lambda: JPEG(standard_tables(50), (1, 2)),
    "JPEG 4:2:0": lambda: JPEG(standard_tables(30), (2, 2)),
}


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_strips_give_what_the_whole_gives(name: str, in_strips: Callable[[], None]) -> None:
    degradation, x, d, v = DEGRADATIONS[name](), picture(2, 0), picture(2, 1), torch.tensor([0.01, 0.2])

    def answers() -> list[Tensor]:
        y = degradation.forward(x)
        estimate = degradation.initial_estimate(y)
        return [y, degradation.gain_step(d, y, v), estimate.x, estimate.sigma, degradation.misfit(d, y)]

    whole = answers()
    in_strips()
    for a, b in zip(whole, answers(), strict=True):
        torch.testing.assert_close(b, a, rtol=1e-5, atol=1e-5)


def test_cells_of_strips_are_those_of_the_whole(in_strips: Callable[[], None]) -> None:
    degradation = JPEG(standard_tables(40), (2, 2))
    y = degradation.forward(picture(1, 2))
    whole = degradation.cells(y)
    in_strips()
    assert all(torch.equal(a, b) for a, b in zip(whole, degradation.cells(y), strict=True))


def test_strips_cover_every_row_once(in_strips: Callable[[], None]) -> None:
    in_strips()
    heights: list[int] = []

    def doubled(x: Tensor, factor: Tensor) -> Tensor:
        heights.append(x.shape[-2])
        return x * factor

    x = picture(1, 3)
    assert torch.equal(by_strips(doubled, x, torch.full((1, 1, 1, 1), 2.0)), 2.0 * x)
    assert sum(heights) == SIZE[0] and len(heights) > 3
