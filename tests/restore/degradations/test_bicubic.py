"""MATLAB's conventions, against a direct evaluation of its definition."""

from __future__ import annotations

import math

import pytest
import torch

from restore.degradations import AveragePool, Bicubic, GaussianNoise, bicubic_upsample
from restore.degradations import cubic as cubic_module
from restore.errors import ParameterError


def keys(t: float) -> float:
    t = abs(t)
    if t <= 1:
        return 1.5 * t**3 - 2.5 * t**2 + 1
    return -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2 if t < 2 else 0.0


def imresize_1d(signal: list[float], factor: float) -> list[float]:
    """imresize's contributions, written down sample by sample (1-based positions, as in its documentation)."""
    n = len(signal)
    stretch = min(factor, 1.0)
    width = 4 / stretch
    mirror = [*range(n), *reversed(range(n))]
    out = []
    for x in range(1, math.ceil(n * factor) + 1):
        u = x / factor + 0.5 * (1 - 1 / factor)
        left = math.floor(u - width / 2)
        positions = range(left, left + math.ceil(width) + 2)
        weights = [stretch * keys(stretch * (u - p)) for p in positions]
        total = sum(weights)
        out.append(sum(w / total * signal[mirror[(p - 1) % (2 * n)]] for w, p in zip(weights, positions, strict=True)))
    return out


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@pytest.mark.parametrize("length", [24, 29])
def test_reduction_follows_imresize(scale: int, length: int) -> None:
    signal = torch.rand(length, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    want = torch.tensor(imresize_1d(signal.tolist(), 1 / scale), dtype=torch.float64)
    torch.testing.assert_close(cubic_module.reduce(signal, 0, scale), want)
    picture = torch.outer(signal, signal).view(1, 1, length, length)
    got = Bicubic(scale, (length, length)).forward(picture)
    torch.testing.assert_close(got[0, 0], torch.outer(want, want))


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_enlargement_follows_imresize(scale: int) -> None:
    signal = torch.rand(7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    want = torch.tensor(imresize_1d(signal.tolist(), scale), dtype=torch.float64)
    picture = torch.outer(signal, signal).view(1, 1, 7, 7)
    torch.testing.assert_close(bicubic_upsample(picture, scale)[0, 0], torch.outer(want, want))
    cut = bicubic_upsample(picture, scale, (7 * scale - 1, 7 * scale))
    torch.testing.assert_close(cut[0, 0], torch.outer(want[:-1], want))


def test_a_constant_stays_constant() -> None:
    flat = torch.full((1, 3, 25, 31), 0.25)
    for scale in (2, 3, 4, 8):
        assert torch.allclose(Bicubic(scale, (25, 31)).forward(flat), torch.tensor(0.25), atol=1e-6)
        assert torch.allclose(bicubic_upsample(flat, scale), torch.tensor(0.25), atol=1e-6)


def test_sides_too_long_for_a_dense_decomposition_are_solved_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    size = (61, 47)
    operator = Bicubic(2, size, GaussianNoise(0.001))
    g = torch.Generator().manual_seed(0)
    x, d = torch.rand(2, 3, *size, generator=g), torch.rand(2, 3, *size, generator=g)
    y, v = operator.forward(x), torch.tensor([0.25, 0.01])
    exact = operator.gain_step(d, y, v)
    monkeypatch.setattr(cubic_module, "DENSE_LIMIT", 10)
    cubic_module.gram_axis.cache_clear()
    try:
        torch.testing.assert_close(operator.gain_step(d, y, v), exact, rtol=0, atol=2e-4)
    finally:
        cubic_module.gram_axis.cache_clear()


@pytest.mark.parametrize("kind", [AveragePool, Bicubic])
def test_wrong_scales_and_sizes_are_named(kind: type[Bicubic]) -> None:
    for scale in (0, -2, 1.5, True):
        with pytest.raises(ParameterError, match="scale"):
            kind(scale)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="13x12 is not divisible by 4"):
        kind(4).forward(torch.zeros(1, 3, 12, 13))
    with pytest.raises(ParameterError, match="has 5x5"):
        kind(2, (12, 12)).adjoint(torch.zeros(1, 3, 5, 5))
    with pytest.raises(ParameterError, match="expected a picture of 12x12"):
        kind(2, (12, 12)).forward(torch.zeros(1, 3, 12, 14))
    with pytest.raises(ParameterError, match="enlarged"):
        bicubic_upsample(torch.zeros(1, 3, 4, 4), 2, (11, 8))
