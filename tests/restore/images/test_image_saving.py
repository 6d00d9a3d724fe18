"""Saving: the right format, whole files or none, and the errors' words."""

from __future__ import annotations

import os
import stat

import numpy as np
import pytest
import torch
from PIL import Image

from restore.errors import ImageValueError, NumericalError, OutputError, ParameterError
from restore.images import codec, decode, encode, format_of, save, save_map, write_atomically
from restore.images import saving as saving_module


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.png", "png"),
        ("a.JPG", "jpeg"),
        ("a.jpeg", "jpeg"),
        ("a.tif", "tiff"),
        ("a.tiff", "tiff"),
        ("a.webp", "webp"),
        ("a.avif", "avif"),
        ("a.ppm", "ppm"),
        ("a.bmp", "bmp"),
    ],
)
def test_the_suffix_says_the_format(photo, tmp_path, name, kind):
    picture = decode(photo(3))
    assert save(picture, picture.image, tmp_path / name) == ()
    assert decode(tmp_path / name).format == kind
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("name", ["a.xyz", "a", "a.gif", "a.heic"])
def test_unknown_suffixes_list_the_known(photo, tmp_path, name):
    picture = decode(photo(3))
    with pytest.raises(ParameterError, match=r"\.png .*\.tiff") as caught:
        save(picture, picture.image, tmp_path / name)
    assert name in str(caught.value)
    with pytest.raises(ParameterError):
        format_of(name)
    assert os.listdir(tmp_path) == []


def test_depth_lost_is_reported(photo, tmp_path):
    picture = decode(photo(3, np.uint16))
    assert "8 bits" in save(picture, picture.image, tmp_path / "a.jpg")[0]
    assert save(picture, picture.image, tmp_path / "a.png") == ()
    np.testing.assert_array_equal(decode(tmp_path / "a.png").samples, picture.samples)


@pytest.mark.parametrize("quality", [0, 101, -3])
def test_quality_out_of_range_is_refused(photo, quality):
    picture = decode(photo(3))
    with pytest.raises(ParameterError, match="quality"):
        encode(picture, picture.image, format="jpeg", quality=quality)


@pytest.mark.parametrize("shape", [(3, 4, 4), (2, 3, 4, 4), (1, 1, 4, 4), (1, 3, 0, 4)])
def test_results_of_another_shape_are_refused(photo, shape):
    with pytest.raises(ParameterError, match="shape"):
        encode(decode(photo(3)), torch.zeros(shape))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_garbage_is_never_written(photo, tmp_path, value):
    picture = decode(photo(3))
    restored = picture.image.clone()
    restored[0, 1, 5, 5] = value
    with pytest.raises(NumericalError):
        save(picture, restored, tmp_path / "a.png")
    assert os.listdir(tmp_path) == []


def test_values_beyond_the_range_are_clipped(photo):
    picture = decode(np.full((4, 4, 3), 128, np.uint8))
    again = decode(encode(picture, picture.image + 5))
    assert again.samples.min() == 255


def test_too_large_for_the_format_is_refused():
    picture = decode(np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(OutputError, match="WEBP"):
        encode(picture, torch.zeros(1, 3, 2, 16384), format="webp")


def test_missing_folder_file_as_folder_and_folder_as_file(photo, tmp_path):
    picture = decode(photo(3))
    with pytest.raises(OutputError, match=r"nowhere.*create it first"):
        save(picture, picture.image, tmp_path / "nowhere" / "a.png")
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="not a folder"):
        save(picture, picture.image, tmp_path / "file" / "a.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        save(picture, picture.image, tmp_path / "folder.png")


def test_unwritable_folder_is_named(photo, tmp_path, monkeypatch):
    def refuse(*args: object, **kwargs: object) -> int:
        raise PermissionError(13, "Permission denied")

    picture = decode(photo(3))
    monkeypatch.setattr(saving_module.os, "open", refuse)  # a mode would not stop a test that runs as root
    with pytest.raises(OutputError, match="no permission") as caught:
        save(picture, picture.image, tmp_path / "a.png")
    assert str(tmp_path / "a.png") in str(caught.value)


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_failure_while_writing_leaves_the_old_file(photo, tmp_path, monkeypatch, step):
    def fail(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    picture = decode(photo(3))
    (tmp_path / "a.png").write_bytes(b"old")
    monkeypatch.setattr(saving_module.os, step, fail)
    with pytest.raises(OutputError, match="No space left"):
        save(picture, picture.image, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.png"]


def test_failure_while_encoding_leaves_the_old_file(photo, tmp_path, monkeypatch):
    def fail(*args: object, **kwargs: object) -> bytes:
        raise codec.CodecError("the encoder gave up")

    picture = decode(photo(3))
    (tmp_path / "a.png").write_bytes(b"old")
    monkeypatch.setattr(codec, "write", fail)
    with pytest.raises(OutputError, match="gave up"):
        save(picture, picture.image, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes() == b"old" and os.listdir(tmp_path) == ["a.png"]


def test_modes_links_and_devices(tmp_path):
    previous = os.umask(0o027)
    try:
        write_atomically(tmp_path / "new.bin", b"1")
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / "new.bin").stat().st_mode) == 0o640
    (tmp_path / "kept.bin").write_bytes(b"1")
    (tmp_path / "kept.bin").chmod(0o604)
    (tmp_path / "link.bin").symlink_to("kept.bin")
    write_atomically(tmp_path / "link.bin", b"22")
    assert (tmp_path / "link.bin").is_symlink() and (tmp_path / "kept.bin").read_bytes() == b"22"
    assert stat.S_IMODE((tmp_path / "kept.bin").stat().st_mode) == 0o604
    write_atomically("/dev/null", b"333")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_uncertainty_maps_round_trip(tmp_path):
    values = np.random.default_rng(0).random((9, 7), dtype=np.float32) * 0.3
    save_map(values, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        scale = float(image.text["Scale"])
        levels = np.asarray(image)
    assert levels.dtype == np.uint16 and levels.max() == 65535
    np.testing.assert_allclose(levels * scale, values, atol=scale)
    save_map(torch.from_numpy(values)[None, None], tmp_path / "a.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), values)
    colour = torch.from_numpy(np.stack([values, 2 * values, 0 * values]))
    save_map(colour, tmp_path / "b.npy")
    np.testing.assert_allclose(np.load(tmp_path / "b.npy"), values * np.sqrt(5 / 3), rtol=1e-5)
    save_map(np.zeros((4, 4)), tmp_path / "zero.png")


@pytest.mark.parametrize("values", [np.full((4, 4), np.nan), np.full((4, 4), -1.0), np.zeros(4), np.zeros((2, 4, 4))])
def test_maps_that_mean_nothing_are_refused(values, tmp_path):
    with pytest.raises(ImageValueError):
        save_map(values, tmp_path / "a.png")
    with pytest.raises(ParameterError, match=r"\.npy"):
        save_map(np.zeros((4, 4)), tmp_path / "a.jpg")
