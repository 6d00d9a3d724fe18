from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from models.registry import load_denoiser
from restore import Restorer
from restore.prior.protocol import Denoiser

EXAMPLES = Path(__file__).parents[3] / "examples"
NOISE = 25.0


@pytest.fixture(scope="module")
def denoiser() -> Denoiser:
    return load_denoiser(device="cpu", runtime="torch")


@pytest.fixture(scope="module")
def clean() -> np.ndarray:
    """A grey photograph, [160, 160] uint8."""
    with Image.open(EXAMPLES / "small.png") as file:
        return np.asarray(file.convert("L"))[:160, :160]


@pytest.fixture(scope="module")
def noisy(clean: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0.0, NOISE, clean.shape)
    return np.clip(np.round(clean + noise), 0, 255).astype(np.uint8)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10.0 * np.log10(255.0**2 / np.mean((a.astype(float) - b.astype(float)) ** 2)))


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("noise", [NOISE, "auto"])
def test_grey_noise_is_weighed_as_one_noise_in_three_channels(
    denoiser: Denoiser, clean: np.ndarray, noisy: np.ndarray, mode: str, noise: float | str
) -> None:
    told: list[float] = []

    class Listening:
        info = denoiser.info

        def __call__(self, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
            told.append(float(sigma) * 127.5)
            return denoiser(x, sigma)

    given = Image.fromarray(noisy).convert(mode)
    result = Restorer(Listening()).denoise(given, noise=noise)
    restored = np.asarray(result.image.convert("L"))
    x = torch.from_numpy(noisy).float().expand(1, 3, -1, -1) / 127.5 - 1.0
    misled = denoiser(x, torch.tensor([NOISE / 127.5]))
    as_if_independent = ((misled.mean(1)[0].clamp(-1, 1) + 1.0) * 127.5).round().numpy()
    assert psnr(restored, clean) > max(psnr(as_if_independent, clean) + 0.5, 28.0)
    level = result.report["found"]["noise"]
    assert level == pytest.approx(NOISE, rel=0.1)
    assert told == [pytest.approx(3**0.5 * level, rel=1e-3)]
