"""The fidelity contract: an identity restoration gives back the very same samples."""

from __future__ import annotations

import io
import itertools

import numpy as np
import pytest
import torch
from PIL import Image

from restore.images import codec, decode, encode, to_array, to_pil
from restore.images.raster import Raster, upright

DEPTHS = {"8": np.uint8, "16": np.uint16}
CASES = [
    (kind, depth, channels, alpha, profile)
    for kind, depth, channels, alpha, profile in itertools.product(
        ("png", "tiff", "webp", "avif"), DEPTHS, (1, 3, 4), (False, True), ("none", "srgb", "p3", "adobe", "grey")
    )
    if (profile == "grey") <= (channels == 1)
    and (channels == 1) <= (profile in ("none", "grey"))
    and (channels == 4) <= (kind == "tiff" and profile == "none")
    and (kind in ("webp", "avif")) <= (channels == 3 and depth == "8")
]


def exif_with(orientation: int) -> bytes:
    block = Image.Exif()
    block[0x0112] = orientation
    block[0x010F] = "ACME"
    return block.tobytes().removeprefix(b"Exif\0\0")


@pytest.mark.parametrize(("kind", "depth", "channels", "alpha", "profile"), CASES)
def test_identity_gives_the_same_samples(photo, profiles, kind, depth, channels, alpha, profile):
    samples = photo(channels, DEPTHS[depth])
    cover = photo(1, DEPTHS[depth], seed=5)[..., 0] if alpha else None
    space = {1: "grey", 3: "rgb", 4: "cmyk"}[channels]
    file = codec.write(Raster(samples, space, cover, icc=profiles[profile]), kind, quality=None, lossless=True)
    picture = decode(file)
    assert picture.image.dtype == torch.float32
    assert picture.image.shape == (1, 3, 23, 37)
    assert float(picture.image.min()) >= -1.0 and float(picture.image.max()) <= 1.0
    assert picture.depth == int(depth)
    assert picture.grey == (channels == 1)
    assert picture.icc == profiles[profile]
    notes: list[str] = []
    again = decode(encode(picture, picture.image.clone(), lossless=True, warnings=notes))
    assert notes == []
    assert again.format == kind
    assert again.samples.dtype == DEPTHS[depth]
    np.testing.assert_array_equal(again.samples, samples)
    assert again.icc == profiles[profile]
    if alpha:
        np.testing.assert_array_equal(again.alpha, cover)
    else:
        assert again.alpha is None
    torch.testing.assert_close(again.image, picture.image, rtol=0, atol=0)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["png", "webp", "tiff"])
@pytest.mark.parametrize("profile", ["none", "p3"])
def test_orientation_is_applied_once_and_reset(photo, profiles, kind, orientation, profile):
    samples, cover = photo(3), photo(1, seed=2)[..., 0]
    raster = Raster(samples, "rgb", cover, icc=profiles[profile], exif=exif_with(orientation))
    file = codec.write(raster, kind, quality=None, lossless=True)
    if kind == "tiff":
        file = with_tiff_orientation(file, orientation)
    picture = decode(file)
    # The reference is Pillow's own notion of the eight orientations.
    view = Image.fromarray(samples)
    view.getexif()[0x0112] = orientation
    from PIL import ImageOps

    reference = np.asarray(ImageOps.exif_transpose(view))
    np.testing.assert_array_equal(picture.samples, reference)
    again = decode(encode(picture, picture.image))
    np.testing.assert_array_equal(again.samples, reference)
    np.testing.assert_array_equal(again.alpha, upright(cover, orientation))
    with Image.open(io.BytesIO(encode(picture, picture.image))) as seen:
        assert seen.getexif().get(0x0112, 1) == 1
        assert seen.getexif()[0x010F] == "ACME"


def with_tiff_orientation(file: bytes, orientation: int) -> bytes:
    """Set the Orientation tag libvips wrote (always 1) in the first directory."""
    import struct

    data = bytearray(file)
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    for i in range(count):
        at = start + 2 + 12 * i
        if struct.unpack_from("<H", data, at)[0] == 0x0112:
            struct.pack_into("<H", data, at + 8, orientation)
            return bytes(data)
    raise AssertionError("no Orientation tag")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_identity_through_ppm(photo, channels, dtype):
    samples = photo(channels, dtype)
    picture = decode(samples)
    again = decode(encode(picture, picture.image, format="ppm"))
    assert again.format == "ppm"
    np.testing.assert_array_equal(again.samples, samples)


@pytest.mark.parametrize("channels", [1, 3])
def test_identity_through_bmp(photo, channels):
    samples = photo(channels)
    picture = decode(samples)
    np.testing.assert_array_equal(decode(encode(picture, picture.image, format="bmp")).samples, samples)


def test_identity_through_floating_point_tiff(photo):
    samples = photo(3, np.float32)
    picture = decode(samples)
    again = decode(encode(picture, picture.image, format="tiff"))
    assert again.depth == "float"
    np.testing.assert_array_equal(again.samples, samples)


def test_decoded_pixels_of_a_jpeg_come_back_exactly_as_png(photo, profiles):
    file = codec.write(Raster(photo(3), "rgb", icc=profiles["p3"]), "jpeg", quality=80, lossless=False)
    picture = decode(file)
    again = decode(encode(picture, picture.image, format="png"))
    np.testing.assert_array_equal(again.samples, picture.samples)
    assert again.icc == profiles["p3"]


def test_cmyk_jpeg_stays_cmyk_and_becomes_srgb_where_it_must(photo):
    out = io.BytesIO()
    Image.fromarray(photo(3, height=32, width=32)).convert("CMYK").save(out, "JPEG", quality=95)
    picture = decode(out.getvalue())
    assert picture.space == "cmyk" and picture.samples.shape == (32, 32, 4)
    np.testing.assert_array_equal(decode(encode(picture, picture.image, format="tiff")).samples, picture.samples)
    assert decode(encode(picture, picture.image)).space == "cmyk"
    notes: list[str] = []
    plain = decode(encode(picture, picture.image, format="png", warnings=notes))
    assert plain.space == "rgb"
    assert "CMYK" in notes[0]
    torch.testing.assert_close(plain.image, picture.image, rtol=0, atol=1.01 / 255)


def test_changed_cmyk_pixels_get_the_right_colour(photo):
    flat = np.full((16, 16, 4), (40, 60, 30, 20), np.uint8)
    file = codec.write(Raster(flat, "cmyk"), "tiff", quality=None, lossless=True)
    picture = decode(file)
    restored = picture.image.clone()
    restored[..., :8] -= 0.1
    again = decode(encode(picture, restored))
    np.testing.assert_array_equal(again.samples[:, 8:], flat[:, 8:])
    torch.testing.assert_close(again.image, restored, rtol=0, atol=0.03)


def test_a_change_moves_the_samples_by_that_much(photo):
    picture = decode(np.full((8, 8, 3), 100, np.uint8))
    restored = picture.image + 20 / 127.5
    np.testing.assert_array_equal(to_array(restored, picture), np.full((8, 8, 3), 120, np.uint8))


def test_colours_outside_the_core_gamut_survive_a_change_elsewhere(profiles):
    samples = np.zeros((8, 8, 3), np.uint8)
    samples[:, :4] = (255, 0, 0)  # a red that sRGB does not have
    samples[:, 4:] = 90
    picture = decode(codec.write(Raster(samples, "rgb", icc=profiles["p3"]), "png", quality=None, lossless=True))
    restored = picture.image.clone()
    restored[..., 4:] += 0.2
    result = to_array(restored, picture)
    np.testing.assert_array_equal(result[:, :4], samples[:, :4])
    assert (result[:, 4:] > 100).all()


def test_grey_stays_grey_unless_colour_was_asked_for(photo):
    picture = decode(photo(1)[..., 0])
    restored = picture.image.clone()
    restored[:, 0] += 0.3
    assert decode(encode(picture, restored, format="png")).grey
    coloured = decode(encode(picture.coloured(), restored, format="png"))
    assert not coloured.grey
    expected = ((restored.clamp(-1, 1) + 1) * 127.5).round().byte()[0].permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(coloured.samples, expected)


def test_enlarged_result_keeps_depth_profile_and_resized_alpha(photo, profiles):
    cover = np.zeros((20, 30), np.uint16)
    cover[:, 15:] = 65535
    raster = Raster(photo(3, np.uint16, 20, 30), "rgb", cover, icc=profiles["adobe"])
    picture = decode(codec.write(raster, "png", quality=None, lossless=True))
    restored = torch.nn.functional.interpolate(picture.image, scale_factor=2, mode="nearest")
    again = decode(encode(picture, restored))
    assert again.depth == 16 and again.icc == profiles["adobe"]
    assert again.alpha.shape == (40, 60)
    assert again.alpha[:, :24].max() == 0 and again.alpha[:, 36:].min() == 65535
    torch.testing.assert_close(again.image, restored, rtol=0, atol=2e-3)


@pytest.mark.parametrize("profile", ["srgb", "adobe"])
def test_grey_file_with_an_rgb_profile_keeps_its_look(photo, profiles, profile):
    samples = photo(1)
    out = io.BytesIO()
    Image.fromarray(samples[..., 0]).save(out, "TIFF", icc_profile=profiles[profile])
    picture = decode(out.getvalue())
    assert picture.grey
    np.testing.assert_array_equal(to_array(picture.image, picture), samples)
    again = decode(encode(picture, picture.image))
    assert again.grey
    torch.testing.assert_close(again.image, picture.image, rtol=0, atol=1.01 / 255)


def test_to_array_mirrors_the_source(photo):
    for channels, dtype in itertools.product((1, 2, 3, 4), (np.uint8, np.uint16, np.float32)):
        samples = photo(channels, dtype)
        picture = decode(samples)
        result = to_array(picture.image, picture)
        assert result.dtype == dtype
        np.testing.assert_array_equal(result, samples)


def test_to_pil_keeps_mode_profile_and_values(photo, profiles):
    for mode, channels in (("L", 1), ("LA", 2), ("RGB", 3), ("RGBA", 4)):
        image = Image.fromarray(photo(channels).squeeze())
        image.info["icc_profile"] = profiles["p3"] if channels > 2 else profiles["grey"]
        picture = decode(image)
        back = to_pil(picture.image, picture)
        assert back.mode == mode == image.mode
        assert back.info["icc_profile"] == image.info["icc_profile"]
        np.testing.assert_array_equal(np.asarray(back), np.asarray(image))
    wide = decode(photo(1, np.uint16)[..., 0])
    np.testing.assert_array_equal(np.asarray(to_pil(wide.image, wide)), wide.samples[..., 0])


def test_what_a_format_cannot_hold_is_said(photo, profiles):
    picture = decode(photo(4, np.uint16))
    notes: list[str] = []
    encode(picture, picture.image, format="jpeg", warnings=notes)
    assert any("8 bits" in note for note in notes) and any("transparency" in note for note in notes)
    notes.clear()
    encode(picture, picture.image, format="webp", warnings=notes)
    assert [("8 bits" in note) for note in notes] == [True]
    wide = decode(codec.write(Raster(photo(3), "rgb", icc=profiles["p3"]), "png", quality=None, lossless=True))
    notes.clear()
    plain = decode(encode(wide, wide.image, format="ppm", warnings=notes))
    assert "profile" in notes[0]
    torch.testing.assert_close(plain.image, wide.image, rtol=0, atol=1.01 / 255)


def test_transparent_pixels_are_laid_on_white_in_jpeg():
    samples = np.zeros((32, 32, 4), np.uint8)
    picture = decode(samples)
    assert decode(encode(picture, picture.image, format="jpeg")).samples.min() > 250


def test_jpeg_default_is_high_quality_without_chroma_subsampling(photo):
    picture = decode(photo(3))
    again = decode(encode(picture, picture.image, format="jpeg"))
    assert again.subsampling == (1, 1)
    assert again.quantisation[0][0] <= 2
    coarse = encode(picture, picture.image, format="jpeg", quality=30)
    assert len(coarse) < len(encode(picture, picture.image, format="jpeg"))


def test_twelve_bit_avif_comes_back_unchanged(photo):
    samples = (photo(3, np.uint16) >> 4) << 4
    file = codec.write(Raster(samples, "rgb"), "avif", quality=None, lossless=True)
    picture = decode(file)
    np.testing.assert_array_equal(picture.samples, samples)
    again = decode(encode(picture, picture.image, lossless=True))
    np.testing.assert_array_equal(again.samples, samples)
