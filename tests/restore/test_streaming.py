"""Files restored in strips: the same result as restoring the whole picture."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from restore import Restorer, streaming
from restore.errors import CancelledError, OutOfMemoryError, OutputError, UndecodableImageError
from restore.images import decode
from restore.prior import PriorInfo
from restore.prior.tiled import TiledDenoiser


class Smoother:
    """A crude local prior."""

    info = PriorInfo(name="smoother", multiple_of=4, receptive_field=5)

    def __init__(self, pixels: int = 10**9) -> None:
        self.pixels = pixels

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        if x.shape[0] * x.shape[2] * x.shape[3] > self.pixels:
            raise torch.OutOfMemoryError("out of memory")
        smooth = F.avg_pool2d(F.pad(x, (2, 2, 2, 2), mode="replicate"), 5, 1)
        return smooth.clamp(-1.0, 1.0)


@pytest.fixture(autouse=True)
def everything_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "STREAM_PIXELS", 1)
    monkeypatch.setattr("restore.images.streams.STRIP_PIXELS", 2000)


@pytest.fixture
def restorer() -> Restorer:
    return Restorer(TiledDenoiser(Smoother(), 96, 16, 2))


def pixels(channels: int = 3, bits: int = 8) -> np.ndarray:
    values = np.random.default_rng(1).integers(0, 2**bits, (301, 223, channels))
    return values.astype(np.uint8 if bits == 8 else np.uint16)


def opened(path: Path) -> Image.Image:
    with Image.open(path) as image:
        image.load()
        return image


def both(restorer: Restorer, source: Path, folder: Path, suffix: str, **options: object) -> tuple[Path, Path, dict]:
    whole, streamed = folder / f"whole{suffix}", folder / f"streamed{suffix}"
    restorer.restore(source, "denoise", **options).save(whole)
    report = restorer.restore_file(source, streamed, "denoise", **options)
    return whole, streamed, report


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_the_file_is_that_of_the_whole_picture(restorer: Restorer, tmp_path: Path, suffix: str, mode: str) -> None:
    source = tmp_path / f"source{suffix}"
    Image.fromarray(pixels()).convert(mode).save(source)
    whole, streamed, report = both(restorer, source, tmp_path, suffix, noise=25.0, strength=0.7)
    assert report["streamed"] is True
    if suffix == ".jpg":  # the same coefficients, with other Huffman tables
        assert np.array_equal(np.asarray(opened(whole)), np.asarray(opened(streamed)))
    else:
        assert whole.read_bytes() == streamed.read_bytes()
    assert not list(tmp_path.glob(".*"))


def test_depth_transparency_profile_and_metadata_are_kept(restorer: Restorer, tmp_path: Path) -> None:
    import pyvips

    source = tmp_path / "source.png"
    image = pyvips.Image.new_from_array(pixels(4, 16), interpretation="rgb16")
    image.write_to_file(str(source), profile="p3")
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    data = source.read_bytes()
    from restore.images.containers import png_with

    source.write_bytes(
        png_with(data, exif.tobytes().removeprefix(b"Exif\0\0"), b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>")
    )
    whole, streamed, report = both(restorer, source, tmp_path, ".png", noise=25.0)
    assert report["streamed"] is True
    assert whole.read_bytes() == streamed.read_bytes()
    picture = decode(streamed)
    assert picture.depth == 16 and picture.alpha is not None and picture.icc and picture.exif and picture.xmp


def test_several_orientations_are_averaged(tmp_path: Path, restorer: Restorer) -> None:
    # The prior is symmetric: its orientations agree, but for the padding at the picture's own borders.
    source = tmp_path / "source.png"
    Image.fromarray(pixels()).save(source)
    whole, streamed, report = both(restorer, source, tmp_path, ".png", noise=25.0, steps=4)
    assert report["nfe"] == 4
    difference = np.asarray(opened(whole), int) - np.asarray(opened(streamed), int)
    assert np.abs(difference[8:-8, 8:-8]).max() <= 1


def test_noise_is_estimated_in_windows(tmp_path: Path, restorer: Restorer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "WINDOW", 90)
    y, x = np.mgrid[:301, :223]
    smooth = 128 + 60 * np.sin(x / 40) * np.cos(y / 50)
    noisy = smooth[..., None] + 20.0 * np.random.default_rng(0).standard_normal((301, 223, 3))
    Image.fromarray(noisy.round().clip(0, 255).astype(np.uint8)).save(tmp_path / "noisy.png")
    report = restorer.restore_file(tmp_path / "noisy.png", tmp_path / "out.png", "denoise")
    assert report["found"]["noise"] == pytest.approx(20.0, abs=2.0)
    assert "9 windows" in report["warnings"][0]


def test_what_cannot_be_streamed_is_restored_whole(restorer: Restorer, tmp_path: Path) -> None:
    source = tmp_path / "source.png"
    Image.fromarray(pixels()).save(source)
    for target, task, options in (
        ("out.webp", "denoise", {"noise": 25.0}),
        ("out.png", "denoise", {"noise": 25.0, "fidelity": 0.5}),
        ("out.png", "dejpeg", {"quality": 50}),
    ):
        report = restorer.restore_file(source, tmp_path / target, task, **options)
        assert "streamed" not in report
        assert opened(tmp_path / target).size == (223, 301)
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(pixels()).save(tmp_path / "turned.jpg", exif=turned)
    restorer.restore_file(tmp_path / "turned.jpg", tmp_path / "upright.jpg", "denoise", noise=25.0)
    assert opened(tmp_path / "upright.jpg").size == (301, 223)


def test_too_little_memory_means_smaller_tiles(tmp_path: Path) -> None:
    source = tmp_path / "source.png"
    Image.fromarray(pixels()).save(source)
    scarce = Restorer(TiledDenoiser(Smoother(80 * 80), 192, 16))
    whole, streamed, report = both(scarce, source, tmp_path, ".png", noise=25.0)
    assert report["degraded"].startswith("tile=")
    assert whole.read_bytes() == streamed.read_bytes()
    fixed = Restorer(TiledDenoiser(Smoother(80 * 80), 96, 16), tile=96)
    with pytest.raises(OutOfMemoryError, match="asked for"):
        fixed.restore_file(source, tmp_path / "never.png", "denoise", noise=25.0)
    assert not (tmp_path / "never.png").exists()

    def explode(progress: object) -> None:
        raise MemoryError

    with pytest.raises(OutOfMemoryError, match="picture of this size"):
        scarce.restore_file(source, tmp_path / "never.png", "denoise", noise=25.0, on_step=explode)


def test_failures_leave_nothing_behind(restorer: Restorer, tmp_path: Path) -> None:
    source, target = tmp_path / "source.png", tmp_path / "target.png"
    Image.fromarray(pixels()).save(source)
    target.write_bytes(b"precious")
    steps: list[int] = []
    with pytest.raises(CancelledError, match="band 2"):
        restorer.restore_file(
            source, target, "denoise", noise=25.0,
            on_step=lambda progress: steps.append(progress.step), cancelled=lambda: bool(steps),
        )  # fmt: skip
    cut = tmp_path / "cut.png"
    cut.write_bytes(source.read_bytes()[:-30000])
    with pytest.raises(UndecodableImageError, match=r"cut\.png"):
        restorer.restore_file(cut, target, "denoise", noise=25.0)
    with pytest.raises(OutputError, match="nowhere"):
        restorer.restore_file(source, tmp_path / "nowhere" / "out.png", "denoise", noise=25.0)
    assert target.read_bytes() == b"precious"
    assert not list(tmp_path.glob(".*"))


def test_small_files_are_restored_whole(restorer: Restorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "STREAM_PIXELS", 301 * 223 + 1)
    Image.fromarray(pixels()).save(tmp_path / "source.png")
    report = restorer.restore_file(tmp_path / "source.png", tmp_path / "out.png", "denoise", noise=25.0)
    assert "streamed" not in report
