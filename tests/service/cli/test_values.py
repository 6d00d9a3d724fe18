from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import pytest
import torch
from PIL import Image

from restore.errors import ParameterError
from service.cli.values import AutoNumber, Duration, Numbers, read_kernel, read_mask


@pytest.mark.parametrize(
    ("text", "seconds"), [("2h", 7200), ("90m", 5400), ("1h30m", 5400), ("45s", 45), ("45", 45), ("1.5h", 5400)]
)
def test_durations(text: str, seconds: float) -> None:
    assert Duration().convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "soon", "2d", "h", "-5m"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(click.BadParameter, match="no duration"):
        Duration().convert(text, None, None)


def test_auto_or_a_number() -> None:
    kind = AutoNumber(float, 0.0, 255.0)
    assert kind.convert("auto", None, None) == "auto"
    assert kind.convert("12.5", None, None) == 12.5
    for wrong in ("256", "nan", "-1", "much"):
        with pytest.raises(click.BadParameter):
            kind.convert(wrong, None, None)


def test_numbers() -> None:
    assert Numbers().convert("96,192", None, None) == (96, 192)
    for wrong in ("", "96,", "0", "a,b"):
        with pytest.raises(click.BadParameter):
            Numbers().convert(wrong, None, None)


def test_kernels_by_formula_sum_to_one_and_have_their_width() -> None:
    gaussian = read_kernel("gaussian:1.6")
    assert gaussian.sum().item() == pytest.approx(1.0, abs=1e-5)
    t = torch.arange(gaussian.shape[0]) - gaussian.shape[0] // 2
    assert (gaussian.sum(0) * t**2).sum().item() == pytest.approx(1.6**2, rel=0.02)
    motion = read_kernel("motion:15:0")
    across, down = (motion.sum(0) > 1e-3).sum().item(), (motion.sum(1) > 1e-3).sum().item()
    assert 15 <= across <= 17 and down <= 3
    assert read_kernel("defocus:3").shape[0] >= 7


def test_kernels_from_files(tmp_path: Path) -> None:
    values = np.outer([1, 2, 1], [1, 2, 1])
    np.save(tmp_path / "k.npy", values)
    Image.fromarray((values * 60).astype(np.uint8)).save(tmp_path / "k.png")
    exact = torch.from_numpy(values / values.sum()).float()
    torch.testing.assert_close(read_kernel(str(tmp_path / "k.npy")), exact)
    torch.testing.assert_close(read_kernel(str(tmp_path / "k.png")), exact, atol=1e-5, rtol=0)


@pytest.mark.parametrize("text", ["nothing.png", "box:3"])
def test_what_is_no_kernel(text: str) -> None:
    with pytest.raises(click.BadParameter):
        read_kernel(text)


def test_kernels_that_make_no_sense(tmp_path: Path) -> None:
    np.save(tmp_path / "even.npy", np.ones((4, 4)))
    for text in (str(tmp_path / "even.npy"), "gaussian:-1", "gaussian:wide", "gaussian:1:2", "motion:15"):
        with pytest.raises(ParameterError):
            read_kernel(text)


def test_no_pickle_is_read(tmp_path: Path) -> None:
    np.save(tmp_path / "evil.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(click.BadParameter, match="no readable"):
        read_kernel(str(tmp_path / "evil.npy"))


@pytest.mark.parametrize("bright", [1, 255])
def test_masks_are_where_the_file_is_bright(tmp_path: Path, bright: int) -> None:
    values = np.zeros((6, 8), np.uint8)
    values[1:3, 2:5] = bright
    Image.fromarray(values).save(tmp_path / "mask.png")
    np.save(tmp_path / "mask.npy", values)
    for name in ("mask.png", "mask.npy"):
        assert torch.equal(read_mask(str(tmp_path / name)), torch.from_numpy(values > 0).float())


def test_an_empty_mask_fills_nothing(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((6, 8), np.uint8)).save(tmp_path / "mask.png")
    assert read_mask(str(tmp_path / "mask.png")).sum() == 0
