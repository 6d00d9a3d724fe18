from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from restore.estimation import estimate_noise, estimate_visible_noise

PHOTOGRAPHS = ("budgie.png", "clouds.png", "colosseum.png")


def photograph(name: str) -> Tensor:
    with Image.open(Path(__file__).parents[2] / "data" / name) as file:
        pixels = np.asarray(file.convert("RGB"), np.float32)
    return torch.from_numpy(pixels).permute(2, 0, 1)[None] / 127.5 - 1.0


def eight_bits(x: Tensor) -> Tensor:
    return (x.clamp(-1, 1) * 127.5 + 127.5).round() / 127.5 - 1.0


def blotchy(clean: Tensor, level: float) -> Tensor:
    """Noise as demosaicking leaves it: smooth between neighbouring pixels; `level` on the 0-255 scale."""
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(3))
    kernel = torch.tensor([1.0, 2.0, 1.0])
    kernel = (kernel[:, None] * kernel).expand(3, 1, 3, 3)
    noise = torch.nn.functional.conv2d(noise, kernel, padding=1, groups=3)
    return eight_bits(clean + noise / noise.std() * level / 127.5)


def jpeg(clean: Tensor, quality: int) -> Tensor:
    pixels = ((clean[0] + 1.0) * 127.5).round().byte().permute(1, 2, 0).numpy()
    coded = cv2.imdecode(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)
    return torch.from_numpy(coded).permute(2, 0, 1)[None].float() / 127.5 - 1.0


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_correlated_noise_is_recognised_and_its_level_found(name: str) -> None:
    noisy = blotchy(photograph(name), 15.0)
    sigma, correlated = estimate_visible_noise(noisy)
    assert correlated
    # Told of 1.4 to 2.5 times its level, the embedded prior removes most of such noise; told of 0.7 times, 3 dB less.
    assert 1.4 * 15.0 < sigma * 127.5 < 2.5 * 15.0
    assert float(estimate_noise(noisy)[0]) * 127.5 < 10.0  # the white level misses most of it


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_weak_correlated_noise_is_told_from_texture_by_its_colours(name: str) -> None:
    clean = photograph(name)
    noisy = blotchy(clean, 3.5)
    brightness = (noisy - clean).mean(1, keepdim=True) * 3**0.5
    assert estimate_visible_noise(noisy)[1]
    assert not estimate_visible_noise(eight_bits(clean + brightness))[1]


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_white_noise_is_measured_as_white(name: str) -> None:
    clean = photograph(name)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(4)) * 20.0 / 127.5
    noisy = eight_bits(clean + noise)
    assert estimate_visible_noise(noisy) == (pytest.approx(float(estimate_noise(noisy)[0])), False)


@pytest.mark.parametrize("name", PHOTOGRAPHS)
@pytest.mark.parametrize("quality", [None, 20, 60])
def test_clean_pictures_and_jpeg_artefacts_are_no_correlated_noise(name: str, quality: int | None) -> None:
    clean = photograph(name)
    sigma, correlated = estimate_visible_noise(clean if quality is None else jpeg(clean, quality))
    assert not correlated
    assert sigma * 127.5 < 2.0


def test_a_picture_too_small_to_tell_has_no_noise() -> None:
    assert estimate_visible_noise(torch.zeros(1, 3, 4, 4)) == (0.0, False)
