import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from restore.errors import ImageSizeError, ImageValueError
from restore.evaluate import niqe
from restore.evaluate.basicsr import basicsr_module

PHOTOGRAPH = Path(__file__).parents[2] / "data" / "colosseum.png"

if sys.version_info >= (3, 13):
    pytest.skip("BasicSR cannot be built for later versions of Python", allow_module_level=True)


@pytest.fixture(scope="module")
def photograph() -> Tensor:
    with Image.open(PHOTOGRAPH) as file:
        pixels = np.asarray(file.convert("RGB"), dtype=np.float32)
    return torch.from_numpy(pixels).permute(2, 0, 1)[None] / 127.5 - 1.0


@pytest.mark.parametrize("crop", [0, 4])
def test_agrees_with_basicsr(photograph: Tensor, crop: int) -> None:
    pixels = ((photograph[0] + 1.0) * 127.5).round().byte().permute(1, 2, 0).numpy()
    theirs = basicsr_module("metrics").calculate_niqe(pixels[..., ::-1], crop)
    assert niqe(photograph, crop).item() == pytest.approx(theirs, abs=1e-9)


def test_noise_is_unnatural(photograph: Tensor) -> None:
    noise = torch.randn(photograph.shape, generator=torch.Generator().manual_seed(0))
    clean, noisy = niqe(torch.cat([photograph, photograph + 0.3 * noise])).tolist()
    assert clean < noisy


def test_pictures_without_the_statistics_are_refused(photograph: Tensor) -> None:
    with pytest.raises(ImageSizeError, match="two blocks"):
        niqe(photograph[..., :150, :190])
    with pytest.raises(ImageSizeError, match="two blocks"):
        niqe(photograph, 500)
    with pytest.raises(ImageValueError, match="too flat"):
        niqe(torch.zeros(1, 3, 192, 192))
    with pytest.raises(ImageValueError, match=r"\[N, 3, H, W\]"):
        niqe(photograph[:, :1])


def test_importing_basicsr_changes_nothing_else() -> None:
    before = np.geterr()
    basicsr_module("data.degradations")
    assert np.geterr() == before
    assert "torchvision.transforms.functional_tensor" not in sys.modules
