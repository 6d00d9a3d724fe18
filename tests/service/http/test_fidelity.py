"""R17: an identity restoration over HTTP gives back the very same samples, profile, alpha, depth and metadata.

With strength=0 the answer is the given picture, through all of the server: intake, worker, decoder, core, encoder.
"""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from restore.images import codec, decode
from restore.images.raster import Raster, upright
from tests.restore.images import conftest
from tests.restore.images.test_image_fidelity import CASES, DEPTHS, exif_with, with_tiff_orientation

exif, photo, profiles = conftest.exif, conftest.photo, conftest.profiles

IDENTITY = "/v1/denoise?strength=0&noise=5"
#: Of lossy formats the samples are compared in one that keeps every bit.
KEEPS = {"png": "image/png", "tiff": "image/tiff", "webp": "image/png", "avif": "image/png"}


def restored(server, file, accept):
    answer = server.client.post(IDENTITY, content=file, headers={"Accept": accept})
    assert answer.status_code == 200, answer.text
    return answer.content


@pytest.mark.parametrize(("kind", "depth", "channels", "alpha", "profile"), CASES)
def test_samples_profile_alpha_and_depth_come_back_exactly(
    server, photo, profiles, kind, depth, channels, alpha, profile
):
    samples = photo(channels, DEPTHS[depth])
    cover = photo(1, DEPTHS[depth], seed=5)[..., 0] if alpha else None
    space = {1: "grey", 3: "rgb", 4: "cmyk"}[channels]
    file = codec.write(Raster(samples, space, cover, icc=profiles[profile]), kind, quality=None, lossless=True)
    again = decode(restored(server, file, KEEPS[kind]))
    assert again.samples.dtype == DEPTHS[depth]
    np.testing.assert_array_equal(again.samples, samples)
    assert again.icc == profiles[profile]
    assert again.grey == (channels == 1)
    if alpha:
        np.testing.assert_array_equal(again.alpha, cover)
    else:
        assert again.alpha is None


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["png", "webp", "tiff", "jpeg"])
@pytest.mark.parametrize("profile", ["none", "p3"])
def test_orientation_is_applied_once_and_its_tag_reset(server, photo, profiles, kind, orientation, profile):
    samples = photo(3)
    cover = None if kind == "jpeg" else photo(1, seed=2)[..., 0]
    raster = Raster(samples, "rgb", cover, icc=profiles[profile], exif=exif_with(orientation))
    file = codec.write(raster, kind, quality=None, lossless=True)
    if kind == "tiff":
        file = with_tiff_orientation(file, orientation)
    with Image.open(io.BytesIO(file)) as given:
        # The reference is Pillow's own notion of the eight orientations, and its own decoder where that is exact.
        flat = Image.fromarray(np.asarray(given)[..., :3] if kind == "jpeg" else samples)
    flat.getexif()[0x0112] = orientation
    reference = np.asarray(ImageOps.exif_transpose(flat))
    data = restored(server, file, "image/png")
    again = decode(data)
    np.testing.assert_array_equal(again.samples, reference)
    if cover is not None:
        np.testing.assert_array_equal(again.alpha, upright(cover, orientation))
    assert again.icc == profiles[profile]
    with Image.open(io.BytesIO(data)) as seen:
        assert seen.getexif().get(0x0112, 1) == 1
        assert seen.getexif()[0x010F] == "ACME"


@pytest.mark.parametrize("target", ["jpeg", "png", "webp", "tiff"])
def test_the_place_goes_unless_asked_for(server, photo, exif, target):
    file = codec.write(Raster(photo(3), "rgb", exif=exif), "png", quality=None,
                       lossless=True)  # fmt: skip
    for query, kept in (("", False), ("&keep_gps=true", True)):
        answer = server.client.post(IDENTITY + query, content=file, headers={"Accept": f"image/{target}"})
        with Image.open(io.BytesIO(answer.content)) as seen:
            assert bool(seen.getexif().get_ifd(0x8825)) is kept
            assert seen.getexif()[0x010F]


def test_alpha_and_profile_follow_an_enlargement(server, photo, profiles):
    raster = Raster(photo(3), "rgb", photo(1, seed=3)[..., 0], icc=profiles["p3"])
    file = codec.write(raster, "png", quality=None, lossless=True)
    answer = server.client.post("/v1/super-resolve?scale=2&noise=5", content=file)
    again = decode(answer.content)
    assert again.samples.shape == (46, 74, 3)
    assert again.alpha is not None
    assert again.alpha.shape == (46, 74)
    assert again.icc == profiles["p3"]
