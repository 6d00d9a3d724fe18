"""Colour profiles: the formulas of the standard, and what happens to profiles that do not fit."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageCms

from restore.images import codec, decode, icc, to_array
from restore.images.colour import LittleCms, MatrixShaper, Srgb, colour_space
from restore.images.raster import Raster


def srgb_of(values: np.ndarray, matrix: np.ndarray, srgb: np.ndarray, gamma: float | None) -> np.ndarray:
    """The textbook conversion in double precision."""
    curve = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    light = (curve if gamma is None else values**gamma) @ (np.linalg.inv(srgb) @ matrix).T
    light = light.clip(0, 1)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize(("name", "gamma"), [("p3", None), ("adobe", 2.19921875)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_matrix_profiles_follow_the_formula(profiles, matrices, photo, name, gamma, dtype):
    samples = photo(3, dtype, 64, 64)
    colours, _, _ = colour_space("rgb", profiles[name])
    assert isinstance(colours, MatrixShaper)
    top = 1.0 if dtype == np.float32 else np.iinfo(dtype).max
    expected = srgb_of(samples / top, matrices[name], matrices["srgb"], gamma)
    # Profiles hold their primaries in steps of 1.5e-5, which the foot of the sRGB curve magnifies 13 times.
    np.testing.assert_allclose(colours.decode(samples), expected, atol=8e-4)


@pytest.mark.parametrize("name", ["p3", "adobe"])
def test_colours_inside_srgb_make_the_round_trip(profiles, photo, name):
    colours, _, _ = colour_space("rgb", profiles[name])
    rgb = photo(3, np.float32, 64, 64)
    codes = np.rint(colours.encode(rgb) * 65535).astype(np.uint16)
    np.testing.assert_allclose(colours.decode(codes), rgb, atol=3e-4)


def test_grey_profile_follows_its_gamma(profiles):
    colours, _, _ = colour_space("grey", profiles["grey"])
    samples = np.arange(0, 65536, 97, dtype=np.uint16).reshape(-1, 1, 1)
    light = (samples / 65535.0) ** 1.8
    expected = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    decoded = colours.decode(samples)
    np.testing.assert_allclose(decoded, np.repeat(expected, 3, axis=2), atol=2e-4)
    np.testing.assert_allclose(colours.encode(decoded), samples / 65535.0, atol=2e-4)


def test_srgb_in_any_wrapping_is_not_converted(profiles):
    for profile in (profiles["srgb"], ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()):
        colours, kept, trouble = colour_space("rgb", profile)
        assert isinstance(colours, Srgb) and kept == profile and trouble is None
    assert not colour_space("rgb", profiles["p3"])[0].same


def test_little_cms_agrees_with_the_formula_on_8_bits(profiles, photo):
    samples = photo(3, np.uint8, 32, 32)
    ours = colour_space("rgb", profiles["p3"])[0].decode(samples)
    theirs = LittleCms("rgb", profiles["p3"]).decode(samples)
    assert np.abs(ours - theirs).max() < 2 / 255


def test_look_up_table_profiles_go_through_little_cms(photo):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    assert icc.shaper(profile) is None
    colours, _, _ = colour_space("cmyk", None)
    assert isinstance(colours, LittleCms)
    white, black = np.zeros((1, 1, 4), np.uint8), np.full((1, 1, 4), 255, np.uint8)
    assert colours.decode(white).min() > 0.97
    assert colours.decode(black).max() < 0.1


def test_profile_of_another_kind_is_dropped_with_a_warning(profiles, photo):
    samples = photo(3)
    image = Image.fromarray(samples)
    image.info["icc_profile"] = profiles["grey"]
    picture = decode(image)
    assert picture.icc is None and "profile" in picture.warnings[0]
    np.testing.assert_array_equal(to_array(picture.image, picture), samples)


def test_grey_picture_with_an_rgb_profile_comes_back(profiles, photo):
    samples = photo(1, np.uint16)
    image = Image.fromarray(samples[..., 0])
    image.info["icc_profile"] = profiles["adobe"]
    picture = decode(image)
    assert picture.grey and picture.icc == profiles["adobe"] and not picture.colours.same
    np.testing.assert_array_equal(to_array(picture.image, picture), samples)


@pytest.mark.parametrize("cut", [0, 3, 127, 140, 200, 300, 400])
def test_damaged_profiles_never_fail_the_picture(profiles, photo, cut):
    samples = photo(3)
    image = Image.fromarray(samples)
    image.info["icc_profile"] = profiles["p3"][:cut]
    picture = decode(image)
    np.testing.assert_array_equal(to_array(picture.image, picture), samples)


def test_random_damage_to_a_profile_never_fails_the_picture(profiles, photo):
    rng = np.random.default_rng(0)
    samples = photo(3, height=4, width=4)
    for _ in range(25):
        broken = bytearray(profiles["adobe"])
        for place in rng.integers(128, len(broken), 4):
            broken[place] = rng.integers(256)
        image = Image.fromarray(samples)
        image.info["icc_profile"] = bytes(broken)
        picture = decode(image)
        assert bool(picture.image.isfinite().all())
        np.testing.assert_array_equal(to_array(picture.image, picture), samples)


def test_16_bits_are_not_quantised_to_8_on_the_way_in(profiles):
    ramp = np.arange(4096, dtype=np.uint16).reshape(1, -1).repeat(3, 0)
    samples = np.repeat(ramp[..., None], 3, axis=2)
    for profile in ("none", "p3"):
        file = codec.write(Raster(samples, "rgb", icc=profiles[profile]), "png", quality=None, lossless=True)
        row = decode(file).image[0, 1, 0]
        assert bool((row.diff() > 0).all())
