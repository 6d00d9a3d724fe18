"""What `decode` takes: paths, bytes, file objects, PIL images, arrays, tensors; and the facts of JPEG files."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps, JpegImagePlugin

from restore.errors import ImageSizeError, ImageValueError, UndecodableImageError
from restore.images import decode, to_array
from restore.images.jpeg import ZIGZAG, jpeg_facts


def jpeg_of(image: Image.Image, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", **options)
    return out.getvalue()


def test_paths_bytes_and_file_objects_are_the_same(photo, tmp_path):
    path = tmp_path / "a picture.png"
    Image.fromarray(photo(3)).save(path)
    expected = torch.from_numpy(photo(3)).permute(2, 0, 1)[None] / 127.5 - 1
    for source in (path, str(path), path.read_bytes(), bytearray(path.read_bytes()), io.BytesIO(path.read_bytes())):
        picture = decode(source)
        torch.testing.assert_close(picture.image, expected.float(), rtol=0, atol=2e-7)
        assert picture.format == "png"
    with path.open("rb") as file:
        assert decode(file).name == str(path)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_arrays_and_tensors_agree(photo, dtype, channels):
    samples = photo(channels, dtype)
    picture = decode(samples)
    assert picture.grey == (channels < 3)
    assert (picture.alpha is not None) == (channels in (2, 4))
    tensor = torch.from_numpy(samples).permute(2, 0, 1)
    for source in (tensor, tensor[None]):
        torch.testing.assert_close(decode(source).image, picture.image, rtol=0, atol=0)


def test_two_dimensions_are_grey(photo):
    picture = decode(photo(1)[..., 0])
    assert picture.grey and torch.equal(picture.image[:, 0], picture.image[:, 2])
    assert decode(torch.rand(8, 8)).grey


def test_arrays_are_not_changed_nor_shared(photo):
    samples = photo(3)
    picture = decode(samples)
    kept = samples.copy()
    samples[:] = 0
    np.testing.assert_array_equal(picture.samples, kept)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.full((4, 4, 3), np.nan), "NaN"),
        (np.full((4, 4, 3), np.inf), "infinity"),
        (np.full((4, 4, 3), 200.0), "divide by 255"),
        (np.full((4, 4, 3), -0.5), "[0, 1]"),
        (np.zeros((4, 4, 5), np.uint8), "5 channels"),
        (np.zeros((3, 8, 9), np.uint8), "come last"),
        (np.zeros((4, 4, 3), np.int32), "int32"),
        (np.zeros((4, 4, 3), bool), "bool"),
        (np.zeros((2, 4, 4, 3), np.uint8), "shape"),
        (np.zeros(7, np.uint8), "shape"),
    ],
)
def test_arrays_that_mean_nothing_are_refused(array, words):
    with pytest.raises(ImageValueError, match=words.replace("[", r"\[")):
        decode(array)


@pytest.mark.parametrize("shape", [(0, 0, 3), (0, 5, 3), (5, 0, 3), (1, 5, 3), (5, 1, 3), (1, 1, 1)])
def test_no_pixels_and_one_pixel_wide_are_refused(shape):
    with pytest.raises(ImageSizeError, match="pixels"):
        decode(np.zeros(shape, np.uint8))


@pytest.mark.parametrize(
    "tensor", [torch.zeros(2, 3, 4, 4), torch.zeros(4, 4, 3, dtype=torch.int64), torch.full((3, 4, 4), -1.0)]
)
def test_tensors_that_mean_nothing_are_refused(tensor):
    with pytest.raises(ImageValueError):
        decode(tensor)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I;16", "I", "F"])
def test_pil_modes(photo, mode):
    if mode in ("I;16", "I"):
        image = Image.fromarray(photo(1, np.uint16)[..., 0])
        image = image if mode == "I;16" else Image.fromarray(photo(1, np.uint16)[..., 0].astype(np.int32))
    elif mode == "F":
        image = Image.fromarray(photo(1, np.float32)[..., 0])
    else:
        image = Image.fromarray(photo(3)).convert(mode)
    picture = decode(image)
    reference = {"1": "L", "P": "RGB", "YCbCr": "RGB", "HSV": "RGB"}.get(mode)
    expected = np.asarray(image.convert(reference) if reference else image).reshape(23, 37, -1)
    np.testing.assert_array_equal(to_array(picture.image, picture), expected)


def test_pil_mode_that_is_no_picture_is_refused(photo):
    with pytest.raises(ImageValueError, match="LAB"):
        decode(Image.fromarray(photo(3)).convert("LAB"))


def test_pil_image_from_a_file_keeps_what_the_file_carried(photo, exif, profiles, tmp_path):
    path = tmp_path / "in.jpg"
    image = Image.fromarray(photo(3))
    image.save(path, exif=b"Exif\0\0" + exif, icc_profile=profiles["p3"], quality=90)
    with Image.open(path) as image:
        picture, direct = decode(image), decode(path)
    with Image.open(path) as image:
        turned = decode(ImageOps.exif_transpose(image))
    assert picture.icc == profiles["p3"] and picture.format == "jpeg" and picture.exif == exif
    assert picture.image.shape == (1, 3, 37, 23)
    assert picture.quantisation == direct.quantisation and picture.subsampling == direct.subsampling
    torch.testing.assert_close(turned.image, picture.image, rtol=0, atol=0)


def test_first_of_several_frames_with_a_warning(photo, tmp_path):
    frames = [Image.fromarray(photo(3, seed=i)) for i in range(3)]
    for name in ("a.tif", "a.webp", "a.png"):
        options = {"lossless": True} if name.endswith("webp") else {}
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **options)
        with Image.open(tmp_path / name) as image:
            for source in (tmp_path / name, image):
                picture = decode(source)
                assert "3 frames" in picture.warnings[0] and name in picture.warnings[0]
                np.testing.assert_array_equal(picture.samples, photo(3, seed=0))


def test_zigzag_is_that_of_the_standard():
    assert ZIGZAG[:10] == (0, 1, 8, 16, 9, 2, 3, 10, 17, 24) and ZIGZAG[-3:] == (55, 62, 63)
    assert sorted(ZIGZAG) == list(range(64))


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize(("option", "expected"), [(0, (1, 1)), (1, (1, 2)), (2, (2, 2))])
def test_jpeg_tables_are_those_pillow_sees(photo, option, expected, progressive):
    data = jpeg_of(
        Image.fromarray(photo(3, height=32, width=48)), quality=70, subsampling=option, progressive=progressive
    )
    facts = jpeg_facts(data)
    image = Image.open(io.BytesIO(data))
    assert isinstance(image, JpegImagePlugin.JpegImageFile)
    assert {k: list(v) for k, v in facts.tables.items()} == {k: list(v) for k, v in image.quantization.items()}
    assert facts.subsampling == expected and facts.ycbcr
    source = decode(data).source()
    assert source["quantisation"] == facts.tables and source["subsampling"] == expected and not source["grey"]


def test_grey_jpeg_has_one_table(photo):
    source = decode(jpeg_of(Image.fromarray(photo(1)[..., 0]), quality=60)).source()
    assert source["grey"] and set(source["quantisation"]) == {0} and source["subsampling"] == (1, 1)


def test_tables_turn_with_the_picture_and_stay_only_on_the_grid(photo):
    tables = [[i + 1 for i in range(64)], [2 * i + 1 for i in range(64)]]
    for size, orientation, on_grid in (((32, 48), 6, True), ((33, 48), 6, False), ((33, 47), 1, True)):
        block = Image.Exif()
        block[0x0112] = orientation
        image = Image.fromarray(photo(3, height=size[0], width=size[1]))
        picture = decode(jpeg_of(image, qtables=tables, subsampling=1, exif=block))
        source = picture.source()
        assert (source["quantisation"] is not None) == on_grid
        if on_grid and orientation == 6:
            assert source["subsampling"] == (2, 1)
            assert source["quantisation"][0][1] == tables[0][8] and source["quantisation"][0][8] == tables[0][1]


def test_tables_are_withheld_from_converted_colours(photo, profiles):
    image = Image.fromarray(photo(3))
    assert decode(jpeg_of(image, icc_profile=profiles["p3"])).source()["quantisation"] is None
    assert decode(jpeg_of(image, icc_profile=profiles["srgb"])).source()["quantisation"] is not None
    assert decode(jpeg_of(image.convert("CMYK"))).source()["quantisation"] is None
    assert decode(photo(3)).source()["quantisation"] is None


def test_source_fits_the_tasks(photo):
    from restore.tasks.plan import Source

    picture = decode(jpeg_of(Image.fromarray(photo(3))))
    source = Source(**picture.source())
    assert source.image is picture.image and source.quantisation is not None


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(UndecodableImageError, match=r"nothing\.png: no such file"):
        decode(tmp_path / "nothing.png")
    with pytest.raises(UndecodableImageError, match="folder"):
        decode(tmp_path)
    with pytest.raises(UndecodableImageError, match="path"):
        decode("a\0b.png")


def test_things_that_are_no_source_are_refused(tmp_path):
    with pytest.raises(ImageValueError, match="int"):
        decode(7)
    path = Path(tmp_path / "a.txt")
    path.write_text("hello")
    with path.open() as file, pytest.raises(ImageValueError, match="binary"):
        decode(file)
