import random
import sys

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from restore import Restorer
from restore.errors import ImageSizeError, ImageValueError, ParameterError
from restore.evaluate import psnr
from restore.evaluate.hard_inputs import hard_input
from restore.prior import PriorInfo

if sys.version_info >= (3, 13):
    pytest.skip("BasicSR cannot be built for later versions of Python", allow_module_level=True)


class Smoother:
    """A crude prior: pictures are smooth, the more so the noisier they look."""

    info = PriorInfo(name="smoother", receptive_field=9)

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        smooth = F.avg_pool2d(F.pad(x, (2, 2, 2, 2), mode="replicate"), 5, 1)
        weight = (sigma.square() / (sigma.square() + 0.01)).view(-1, 1, 1, 1)
        return torch.lerp(x, smooth, weight).clamp(-1.0, 1.0)


@pytest.fixture(scope="module")
def clean() -> Tensor:
    y, x = torch.meshgrid(torch.linspace(0, 1, 96), torch.linspace(0, 1, 112), indexing="ij")
    return torch.stack([torch.sin(25 * x * y), torch.cos(14 * y), (x > 0.5).float() * 1.6 - 0.8])[None].float()


def test_degrades_repeatably_and_differently_for_each_seed(clean: Tensor) -> None:
    first = hard_input(clean, 1)
    assert first.shape == clean.shape
    assert torch.equal(first, hard_input(clean, 1))
    assert not torch.equal(first, hard_input(clean, 2))
    levels = (first + 1.0) * 127.5
    assert torch.allclose(levels, levels.round(), atol=1e-3)
    assert 5.0 < float(psnr(first, clean)) < 35.0


def test_leaves_the_generators_of_the_process_alone(clean: Tensor) -> None:
    random.seed(5)
    np.random.seed(5)
    expected = random.random(), np.random.rand()
    random.seed(5)
    np.random.seed(5)
    hard_input(clean, 1)
    assert (random.random(), np.random.rand()) == expected


def test_makes_small_inputs_for_super_resolution(clean: Tensor) -> None:
    assert hard_input(clean, 3, scale=4).shape == (1, 3, 24, 28)


def test_wrong_arguments_are_refused(clean: Tensor) -> None:
    with pytest.raises(ImageValueError, match=r"\[1, 3, H, W\]"):
        hard_input(clean[:, :1], 0)
    with pytest.raises(ImageSizeError, match="32x32"):
        hard_input(clean[..., :20], 0)
    with pytest.raises(ParameterError, match="scale"):
        hard_input(clean, 0, scale=0)


@pytest.mark.parametrize("task", ["auto", "denoise", "dejpeg", "low-light-enhance", "super-resolve"])
def test_every_task_survives_hard_inputs(clean: Tensor, task: str) -> None:
    restorer = Restorer(Smoother())
    for seed in range(3):
        given = hard_input(clean, seed)
        result = restorer.restore(given * 0.5 + 0.5, task, **({"quality": 50} if task == "dejpeg" else {}))
        assert bool(torch.isfinite(result.tensor).all())
        assert float(result.tensor.abs().max()) <= 1.0
        factor = 4 if task == "super-resolve" else 1
        assert result.tensor.shape[2:] == (96 * factor, 112 * factor)
