from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from models import footprint
from models.footprint import OVERHEAD, Fit, bytes_per_pixel, fit, fit_network
from models.registry import load_folder, load_network
from models.unet import DenoisingUNet
from restore.prior import PriorInfo, memory


class Wide(nn.Module):
    """Makes 8 channels of float32 at full size and keeps them while it makes 8 more."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(8, 3, 1, 1))

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        first = nn.functional.conv2d(x, self.weight)
        second = first + 1.0
        return (first * second)[:, :3]


def test_counts_the_tensors_alive_at_once() -> None:
    # Three of 8 channels, 4 bytes each: first, second and their product.
    found = bytes_per_pixel(Wide(), PriorInfo("wide"))
    assert found == pytest.approx(OVERHEAD * 3 * 8 * 4, rel=0.02)


def test_fewer_at_a_time_before_smaller() -> None:
    wanted = Fit(512, 8)
    tile = 1000.0 * 512 * 512
    assert fit(1000.0, None, wanted) == wanted
    assert fit(1000.0, int(20 * tile), wanted) == wanted
    assert fit(1000.0, int(8 * tile), wanted) == Fit(512, 4)
    assert fit(1000.0, int(0.6 * tile), wanted) == Fit(256, 1)
    assert fit(1000.0, 1, wanted) == Fit(128, 1)
    assert fit(1000.0, 1, wanted, fixed_tile=True) == Fit(512, 1)


def test_nothing_is_tried_out_where_memory_is_plenty(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(footprint, "bytes_per_pixel", lambda *_: calls.append(1) or 1000.0)
    info = PriorInfo("wide")
    assert fit_network(Wide(), info, 2**40, Fit(512, 8)) == Fit(512, 8)
    assert not calls
    assert fit_network(Wide(), info, int(1.1e9), Fit(512, 8)) == Fit(512, 2)
    assert calls


def test_a_prior_is_loaded_in_tiles_that_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    DenoisingUNet(channels=(8,), blocks=(1,), middle=1).save_pretrained(tmp_path)
    assert load_folder(tmp_path, device="cpu").tile == 512
    per_pixel = bytes_per_pixel(load_network(tmp_path), PriorInfo("tiny", multiple_of=4))
    monkeypatch.setattr(memory, "available_bytes", lambda _: int(2 * per_pixel * 300 * 300))
    scarce = load_folder(tmp_path, device="cpu")
    assert (scarce.tile, scarce.overlap) == (256, 48)
