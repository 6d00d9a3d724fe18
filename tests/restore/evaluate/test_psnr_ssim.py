import math

import numpy as np
import pytest
import torch
from torch import Tensor

from restore.errors import ImageSizeError, ImageValueError
from restore.evaluate import luma, psnr, psnr_y, quantise, ssim, ssim_y


@pytest.fixture
def pair() -> tuple[Tensor, Tensor]:
    """Two different pictures of 8-bit values, the second a noisy version of the first."""
    y, x = torch.meshgrid(torch.linspace(0, 1, 47), torch.linspace(0, 1, 61), indexing="ij")
    clean = torch.stack([torch.sin(9 * x + 4 * y), torch.cos(7 * y) * x, 2 * x * y - 1])[None]
    clean = torch.cat([clean, clean.flip(-1) * 0.7])
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(3)) * torch.tensor([0.05, 0.2]).view(
        -1, 1, 1, 1
    )
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


@pytest.fixture
def basicsr_metrics(monkeypatch: pytest.MonkeyPatch) -> object:
    """BasicSR 1.4.2's metrics; it still imports a torchvision module that has since been merged into another."""
    import sys

    from torchvision.transforms import functional

    monkeypatch.setitem(sys.modules, "torchvision.transforms.functional_tensor", functional)
    import basicsr.metrics

    return basicsr.metrics


# BasicSR imports names from where SciPy no longer keeps them.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("crop", [0, 4])
def test_scores_agree_with_basicsr(basicsr_metrics: object, pair: tuple[Tensor, Tensor], crop: int) -> None:
    a, b = pair
    for row in range(2):
        images = as_bgr(a[row]), as_bgr(b[row])
        one, other = a[row : row + 1], b[row : row + 1]
        for ours, name, on_luma in (
            (psnr(one, other, crop), "calculate_psnr", False),
            (psnr_y(one, other, crop), "calculate_psnr", True),
            (ssim(one, other, crop), "calculate_ssim", False),
            (ssim_y(one, other, crop), "calculate_ssim", True),
        ):
            theirs = getattr(basicsr_metrics, name)(*images, crop_border=crop, test_y_channel=on_luma)
            assert ours.item() == pytest.approx(theirs, abs=1e-4)
