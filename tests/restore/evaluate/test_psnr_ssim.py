import math
import sys

import numpy as np
import pytest
import torch
from torch import Tensor

from restore.errors import ImageSizeError, ImageValueError
from restore.evaluate import luma, psnr, psnr_y, quantise, ssim, ssim_y
from restore.evaluate.basicsr import basicsr_module


@pytest.fixture
def pair() -> tuple[Tensor, Tensor]:
    """Two different pictures of 8-bit values, the second a noisy version of the first."""
    y, x = torch.meshgrid(torch.linspace(0, 1, 47), torch.linspace(0, 1, 61), indexing="ij")
    clean = torch.stack([torch.sin(9 * x + 4 * y), torch.cos(7 * y) * x, 2 * x * y - 1])[None]
    clean = torch.cat([clean, clean.flip(-1) * 0.7])
    # Deterministic on every machine, unlike random numbers: the reference scores below depend on it.
    noise = torch.sin(97 * x * y + 61 * clean) * torch.tensor([0.05, 0.2]).view(-1, 1, 1, 1)
    return quantise(clean), quantise(clean + noise)


def as_bgr(x: Tensor) -> np.ndarray:
    return (x.permute(1, 2, 0).flip(-1) * 127.5 + 127.5).round().numpy().astype(np.uint8)


def test_error_of_one_grey_level_is_48_decibel() -> None:
    a = torch.zeros(1, 3, 8, 8)
    expected = 20 * math.log10(255)
    assert psnr(a, a + 1 / 127.5).item() == pytest.approx(expected, abs=1e-5)


def test_equal_pictures_are_perfect(pair: tuple[Tensor, Tensor]) -> None:
    a, _ = pair
    assert torch.isinf(psnr(a, a)).all()
    assert torch.isinf(psnr_y(a, a, 2)).all()
    assert torch.allclose(ssim(a, a), torch.ones(2, dtype=torch.float64))


def test_luma_spans_the_studio_range() -> None:
    x = torch.tensor([-1.0, 0.0, 1.0]).view(3, 1, 1, 1).expand(3, 3, 1, 1)
    assert torch.allclose(luma(x).flatten(), torch.tensor([16.0, 125.5, 235.0], dtype=torch.float64))


def test_quantise_gives_the_values_of_an_8_bit_file() -> None:
    x = torch.tensor([-2.0, -1.0, -0.9999, 0.0, 0.5, 3.0])
    assert torch.allclose(quantise(x) * 127.5 + 127.5, torch.tensor([0.0, 0.0, 0.0, 128.0, 191.0, 255.0]))


def test_rows_are_scored_separately(pair: tuple[Tensor, Tensor]) -> None:
    a, b = pair
    for score in (psnr, ssim):
        alone = torch.cat([score(a[:1], b[:1], 3), score(a[1:], b[1:], 3)])
        assert torch.allclose(score(a, b, 3), alone)


def test_crop_ignores_the_border(pair: tuple[Tensor, Tensor]) -> None:
    a, b = pair
    spoilt = b.clone()
    spoilt[..., :4, :] = 1.0
    spoilt[..., :, -4:] = -1.0
    assert torch.equal(psnr(a, spoilt, 4), psnr(a, b, 4))
    assert torch.equal(ssim_y(a, spoilt, 4), ssim_y(a, b, 4))
    assert (psnr(a, spoilt, 3) < psnr(a, b, 3)).all()


def test_wrong_shapes_are_refused() -> None:
    a = torch.zeros(1, 3, 12, 12)
    with pytest.raises(ImageValueError, match=r"\[1, 3, 12, 12\] and \[1, 3, 12, 11\]"):
        psnr(a, a[..., :11])
    with pytest.raises(ImageValueError, match=r"\[N, 3, H, W\]"):
        psnr_y(a[:, :1], a[:, :1], 0)
    with pytest.raises(ImageSizeError, match="11x11"):
        ssim(a, a, 1)
    with pytest.raises(ImageSizeError, match="1x1"):
        psnr(a, a, 6)


#: PSNR, PSNR-Y, SSIM, SSIM-Y that BasicSR 1.4.2 gives for each row of `pair`, by crop.
BASICSR = {
    0: [[35.23480, 39.91715, 0.90991, 0.96134], [23.00762, 27.86861, 0.37883, 0.53463]],
    4: [[35.19578, 39.84435, 0.91173, 0.96160], [23.02070, 27.86993, 0.37815, 0.52773]],
}


@pytest.mark.parametrize("crop", [0, 4])
def test_scores_are_those_of_basicsr(pair: tuple[Tensor, Tensor], crop: int) -> None:
    scores = torch.stack([psnr(*pair, crop), psnr_y(*pair, crop), ssim(*pair, crop), ssim_y(*pair, crop)], dim=1)
    assert torch.allclose(scores, torch.tensor(BASICSR[crop], dtype=torch.float64), rtol=0, atol=1e-4)


if sys.version_info < (3, 13):  # BasicSR cannot be built for later versions
    # Its dependencies announce what will be gone in versions to come.
    @pytest.mark.filterwarnings("ignore")
    @pytest.mark.parametrize("crop", [0, 4])
    def test_scores_agree_with_basicsr_on_random_pictures(crop: int) -> None:
        values = torch.randint(0, 256, (2, 3, 40, 52), generator=torch.Generator().manual_seed(7))
        a, b = (values / 127.5 - 1.0).split(1)
        b = quantise(a + 0.3 * b)
        images = as_bgr(a[0]), as_bgr(b[0])
        for ours, name, on_luma in (
            (psnr(a, b, crop), "calculate_psnr", False),
            (psnr_y(a, b, crop), "calculate_psnr", True),
            (ssim(a, b, crop), "calculate_ssim", False),
            (ssim_y(a, b, crop), "calculate_ssim", True),
        ):
            theirs = getattr(basicsr_module("metrics"), name)(*images, crop_border=crop, test_y_channel=on_luma)
            assert ours.item() == pytest.approx(theirs, abs=1e-4)
