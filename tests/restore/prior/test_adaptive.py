"""Running out of memory: fewer tiles at a time, then smaller ones, never another answer in silence."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from restore import Restorer
from restore.errors import OutOfMemoryError, ParameterError
from restore.prior import PriorInfo
from restore.prior.tiled import TiledDenoiser


class Hungry:
    """A smoothing prior that has memory for so many pixels in a call."""

    info = PriorInfo(name="hungry", receptive_field=5)

    def __init__(self, pixels: int) -> None:
        self.pixels = pixels
        self.largest = 0

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        pixels = x.shape[0] * x.shape[2] * x.shape[3]
        if pixels > self.pixels:
            raise torch.OutOfMemoryError("out of memory")
        self.largest = max(self.largest, pixels)
        return F.avg_pool2d(F.pad(x, (2, 2, 2, 2), mode="replicate"), 5, 1) * 0.9


PICTURE = torch.rand(1, 3, 260, 300, generator=torch.Generator().manual_seed(0))
OPTIONS = {"noise": 20.0, "steps": 3, "fidelity": 0.5}


def restored(pixels: int, tile: int = 256, batch: int = 4) -> tuple[Tensor, dict[str, object]]:
    result = Restorer(TiledDenoiser(Hungry(pixels), tile, 32, batch)).denoise(PICTURE, **OPTIONS)
    return result.tensor, result.report


def test_enough_memory_is_not_mentioned() -> None:
    _, report = restored(10**9)
    assert "degraded" not in report
    assert report["warnings"] == []


def test_fewer_tiles_at_a_time_give_the_same_picture() -> None:
    plenty, _ = restored(10**9)
    height, width = TiledDenoiser(Hungry(0), 256, 32).tiling.cut(PICTURE, torch.ones(1)).shape
    scarce, report = restored(2 * height * width)
    assert torch.equal(scarce, plenty)
    assert report["degraded"] == "batch=2;reason=oom"
    assert report["warnings"] == ["the device ran out of memory; it now takes 2 tiles at a time"]


def test_smaller_tiles_give_what_such_tiles_give_from_the_start() -> None:
    scarce, report = restored(100 * 100)
    assert report["degraded"] == "tile=91;reason=oom"
    # The overlap shrinks with the tile, but for that it is a beginning like any other.
    began_so = TiledDenoiser(Hungry(10**9), 91, 22)
    assert torch.equal(scarce, Restorer(began_so).denoise(PICTURE, **OPTIONS).tensor)


def test_a_single_tile_too_much_is_a_typed_error() -> None:
    with pytest.raises(OutOfMemoryError, match="single tile") as caught:
        restored(1000)
    assert caught.value.code == "out_of_memory"


def test_a_tile_that_was_asked_for_is_never_changed() -> None:
    hungry = Hungry(128 * 128)
    with pytest.raises(OutOfMemoryError, match=r"tiles of \d+ pixels, which were asked for"):
        Restorer(TiledDenoiser(Hungry(80 * 80), 256), tile=128).denoise(PICTURE, **OPTIONS)
    report = Restorer(TiledDenoiser(hungry, 256, None, 4), tile=128).denoise(PICTURE, **OPTIONS).report
    assert hungry.largest <= 128 * 128
    assert report["degraded"] == "batch=1;reason=oom"


def test_tiles_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ParameterError, match="at least 1"):
        Restorer(Hungry(1), tile=0)
    with pytest.raises(ParameterError, match="256 pixels only"):

        class Fixed(Hungry):
            info = PriorInfo(name="fixed", native_size=256)

        Restorer(Fixed(1), tile=128)


def test_other_errors_pass() -> None:
    class Broken(Hungry):
        def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
            raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        Restorer(TiledDenoiser(Broken(1))).denoise(PICTURE, **OPTIONS)


def test_memory_lacking_outside_the_prior_is_a_typed_error() -> None:
    def explode(progress: object) -> None:
        raise MemoryError

    with pytest.raises(OutOfMemoryError, match="picture of this size"):
        Restorer(Hungry(10**9)).denoise(PICTURE, on_step=explode, noise=20.0)
