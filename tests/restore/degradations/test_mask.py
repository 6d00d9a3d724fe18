from __future__ import annotations

import pytest
import torch

from restore.degradations import GaussianNoise, Mask
from restore.degradations.mask import fill_holes
from restore.errors import ParameterError


def smooth_picture(h: int, w: int) -> torch.Tensor:
    y, x = torch.linspace(-1, 1, h).view(-1, 1), torch.linspace(-1, 1, w)
    return torch.stack((0.5 * x + 0.0 * y, 0.3 * y * x, torch.sin(2 * x + y) * 0.6))[None]


def scattered(h: int, w: int, share: float, seed: int = 0) -> torch.Tensor:
    return torch.rand(h, w, generator=torch.Generator().manual_seed(seed)) < share


def test_known_pixels_are_kept_and_holes_are_filled_smoothly() -> None:
    x = smooth_picture(33, 50)
    known = scattered(33, 50, 0.3)
    estimate = Mask(known).initial_estimate(x * known)
    torch.testing.assert_close(estimate.x * known, x * known)
    assert float((estimate.x - x).square().mean().sqrt()) < 0.05


def test_what_stands_in_the_holes_is_ignored() -> None:
    x = smooth_picture(16, 16)
    known = scattered(16, 16, 0.5)
    degradation = Mask(known, GaussianNoise(0.1))
    clean, dirty = x * known, torch.where(known, x, 77.0)
    v = torch.tensor([0.2])
    d = torch.zeros_like(x)
    torch.testing.assert_close(degradation.gain_step(d, clean, v), degradation.gain_step(d, dirty, v))
    a, b = degradation.initial_estimate(clean), degradation.initial_estimate(dirty)
    torch.testing.assert_close(a.x, b.x)
    torch.testing.assert_close(a.sigma, b.sigma)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_error_level_follows_the_filling(share: float) -> None:
    x = (smooth_picture(48, 40) + 0.2 * torch.randn(1, 3, 48, 40, generator=torch.Generator().manual_seed(3))).clamp(
        -1, 1
    )
    known = scattered(48, 40, share)
    estimate = Mask(known).initial_estimate(x * known)
    rms = float((estimate.x - x).square().mean().sqrt())
    assert float(estimate.sigma) == pytest.approx(rms, rel=0.3)


def test_error_level_of_a_block_and_of_an_untriable_hole() -> None:
    x = smooth_picture(32, 32)
    block = torch.ones(32, 32, dtype=torch.bool)
    block[10:20, 12:22] = False
    assert 0.0 < float(Mask(block).estimate_error(x * block)) < 0.2
    half = torch.ones(32, 32, dtype=torch.bool)
    half[:, 16:] = False
    assert float(Mask(half).estimate_error(x * half)) == pytest.approx(0.5 * 0.5**0.5)
    everything = torch.ones(32, 32, dtype=torch.bool)
    assert float(Mask(everything, GaussianNoise(0.1)).estimate_error(x)) == pytest.approx(0.1)
    nothing = torch.zeros(32, 32, dtype=torch.bool)
    estimate = Mask(nothing).initial_estimate(x * 0)
    assert float(estimate.x.abs().max()) == 0.0 and float(estimate.sigma) == pytest.approx(0.5)


def test_one_pixel_known_fills_everything_with_it() -> None:
    known = torch.zeros(1, 1, 9, 14)
    known[..., 4, 3] = 1
    y = torch.full((1, 3, 9, 14), 0.7)
    torch.testing.assert_close(fill_holes(y, known > 0), y)


def test_large_pictures_are_filled_plane_by_plane(monkeypatch: pytest.MonkeyPatch) -> None:
    y = smooth_picture(20, 24).expand(2, -1, -1, -1)
    known = torch.stack((scattered(20, 24, 0.4), scattered(20, 24, 0.6, 1)))[:, None]
    whole = fill_holes(y, known)
    monkeypatch.setattr("restore.degradations.mask.LIMIT", 100)
    torch.testing.assert_close(fill_holes(y, known), whole)


def test_wrong_masks_are_named() -> None:
    with pytest.raises(ParameterError, match=r"\[3, 4, 4\]"):
        Mask(torch.ones(3, 4, 4))
    with pytest.raises(ParameterError, match="mask is 4x5 pixels, the picture 6x5"):
        Mask(torch.ones(5, 4)).forward(torch.zeros(1, 3, 5, 6))
    with pytest.raises(ParameterError, match="2 masks were given for 3 pictures"):
        Mask(torch.ones(2, 1, 4, 4)).forward(torch.zeros(3, 3, 4, 4))


def test_half_the_size_has_means_of_what_is_known() -> None:
    x = smooth_picture(6, 5)
    known = torch.ones(6, 5, dtype=torch.bool)
    known[0, 0] = False
    known[2:4, :1] = False
    known[4:6, 2:4] = False
    known[4, 2] = True
    given = torch.where(known, x, 55.0)
    y, mask = Mask(known, GaussianNoise(0.2)).halved(given)
    assert y.shape == (1, 3, 3, 3)
    torch.testing.assert_close(y[..., 0, 0], (x[..., 0, 1] + x[..., 1, 0] + x[..., 1, 1]) / 3.0)
    torch.testing.assert_close(y[..., 1, 0], x[..., 2:4, 1].mean(-1))
    torch.testing.assert_close(y[..., 0, 2], x[..., 0:2, 4].mean(-1))
    assert mask.known[0, 0].tolist() == [[True, True, True], [True, True, True], [True, False, True]]
    assert not y[..., 2, 1].any()
    torch.testing.assert_close(mask.noise.variance(y), torch.tensor([0.02]))
