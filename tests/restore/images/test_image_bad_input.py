"""Bad files: each refused by a typed error that names it, quickly, and none half decoded."""

from __future__ import annotations

import contextlib
import io
import resource
import struct
import time
import zlib
from functools import cache

import numpy as np
import pytest
from PIL import Image

from restore.errors import ImageError, ImageSizeError, ImageValueError, UndecodableImageError
from restore.images import LIBRARY_LIMITS, SERVICE_LIMITS, Limits, codec, decode
from restore.images.raster import Raster


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_header(width: int, height: int, bits: int = 8) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 2, 0, 0, 0))


def smooth(height: int = 96, width: int = 128, channels: int = 3) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    rng = np.random.default_rng(0)
    waves = 128 + 60 * np.sin(rows / 9 + columns / 13) + rng.normal(0, 12, (height, width))
    return np.repeat(waves.clip(0, 255).astype(np.uint8)[..., None], channels, axis=2)


def files() -> dict[str, bytes]:
    image = Image.fromarray(smooth())
    made = {}
    for name, kind, options in (
        ("png", "PNG", {}),
        ("jpeg", "JPEG", {"quality": 85}),
        ("progressive", "JPEG", {"quality": 85, "progressive": True}),
        ("webp", "WEBP", {"quality": 80}),
        ("lossless", "WEBP", {"lossless": True}),
        ("tiff", "TIFF", {}),
        ("deflate", "TIFF", {"compression": "tiff_deflate"}),
        ("avif", "AVIF", {"quality": 80}),
        ("bmp", "BMP", {}),
        ("ppm", "PPM", {}),
    ):
        out = io.BytesIO()
        image.save(out, kind, **options)
        made[name] = out.getvalue()
    made["wide"] = codec.write(Raster(smooth().astype(np.uint16) * 257, "rgb"), "png", quality=None, lossless=True)
    return made


FILES = files()


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("share", [0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97])
def test_truncated_files_fail(name, share, tmp_path):
    path = tmp_path / f"cut-{name}.bin"
    path.write_bytes(FILES[name][: int(len(FILES[name]) * share)])
    with pytest.raises(UndecodableImageError, match=path.name):
        decode(path)


@pytest.mark.parametrize("name", FILES)
def test_whole_files_do_not(name):
    picture = decode(FILES[name])
    assert picture.image.shape == (1, 3, 96, 128) and picture.warnings == ()


def test_truncated_file_behind_a_pil_image_fails():
    image = Image.open(io.BytesIO(FILES["jpeg"][:900]))
    with pytest.raises(UndecodableImageError, match="incomplete"):
        decode(image)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (bytes(5000), "zero bytes"),
        (b"%PDF-1.7\n%....", "PDF"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        (b"<svg/>", "SVG"),
        (b"<!DOCTYPE html><html></html>", "web page"),
        (b"GIF89a" + bytes(100), "GIF"),
        (b"PK\x03\x04" + bytes(50), "ZIP"),
        (b"hello, this is no picture", "text"),
        (b"\x01\x02\x03\x04\xfe\xff", "01 02 03 04"),
        (b"8BPS" + bytes(40), "Photoshop"),
        (b"\0\0\0\x18ftypmp42" + bytes(40), "video"),
        (b"%!PS-Adobe", "PostScript"),
        (b"id=ImageMagick", "text"),
    ],
)
def test_other_things_are_named(data, words, tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(data)
    with pytest.raises(UndecodableImageError, match=words) as caught:
        decode(path)
    assert "photo.jpg" in str(caught.value)


def test_camera_raw_is_refused_and_not_its_preview_restored():
    data = bytearray(FILES["tiff"])
    struct.pack_into("<HHII", data, tiff_entries(data)[-1], 50706, 1, 4, 0x00000401)  # DNGVersion
    with pytest.raises(UndecodableImageError, match="raw"):
        decode(bytes(data))


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1)])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "PPM"])
def test_one_pixel_wide_files_are_refused(size, kind):
    out = io.BytesIO()
    Image.new("RGB", size).save(out, kind)
    with pytest.raises(ImageSizeError, match="2 x 2"):
        decode(out.getvalue())


def bomb(name: str) -> bytes:
    """A small file whose header claims, or whose chunks inflate to, far more than the limits."""
    if name in ("zTXt", "iCCP"):
        return png_header(100_000, 100_000) + inflating(name) + PNG_END
    if name == "png":
        return png_header(100_000, 100_000) + PNG_END
    if name == "png 20 gigapixels":
        return png_header(2**31 - 1, 10) + PNG_END
    if name == "ppm":
        return b"P6 100000 100000 255\n" + bytes(100)
    data = bytearray(FILES["lossless" if name == "webp" else name])
    if name == "jpeg":
        struct.pack_into(">HH", data, data.index(b"\xff\xc0") + 5, 65535, 65535)
    elif name == "bmp":
        struct.pack_into("<ii", data, 18, 100_000, 100_000)
    elif name == "webp":
        (bits,) = struct.unpack_from("<I", data, data.index(b"VP8L") + 9)
        struct.pack_into("<I", data, data.index(b"VP8L") + 9, bits & ~0x0FFFFFFF | 16382 | 16382 << 14)  # 16383 x 16383
    elif name == "tiff":
        for at in tiff_entries(data):
            (tag,) = struct.unpack_from("<H", data, at)
            if tag in (256, 257):
                struct.pack_into("<HHII", data, at, tag, 4, 1, 100_000)
    return bytes(data)


PNG_END = chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


@cache
def inflating(kind: str) -> bytes:
    """200 zTXt chunks or one iCCP chunk, each of 50 kB that inflates to 50 MB."""
    return chunk(kind.encode(), b"a\0\0" + zlib.compress(bytes(50_000_000), 1)) * (200 if kind == "zTXt" else 1)


def tiff_entries(data: bytes | bytearray) -> list[int]:
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    return [start + 2 + 12 * i for i in range(count)]


@pytest.mark.parametrize("name", ["png", "png 20 gigapixels", "jpeg", "bmp", "tiff", "webp", "ppm", "zTXt", "iCCP"])
def test_bombs_are_refused_by_their_header(name):
    data = bomb(name)
    decode(FILES["png"])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    with pytest.raises(ImageSizeError) as caught:
        decode(data, limits=SERVICE_LIMITS)
    assert time.process_time() - start < 0.2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024
    assert "the given bytes" in str(caught.value)


@pytest.mark.parametrize("name", ["zTXt", "iCCP"])
def test_chunks_that_inflate_cost_nothing_in_a_small_picture(name):
    good = FILES["png"]
    data = good[:33] + inflating(name) + good[33:]
    decode(good)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    picture = decode(data)
    assert time.process_time() - start < 0.5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024
    assert picture.image.shape == (1, 3, 96, 128)


def test_a_tiff_whose_directories_loop_ends():
    data = bytearray(FILES["tiff"])
    (start,) = struct.unpack_from("<I", data, 4)
    struct.pack_into("<I", data, tiff_entries(data)[-1] + 12, start)
    begun = time.process_time()
    with contextlib.suppress(UndecodableImageError):
        assert decode(bytes(data)).image.shape == (1, 3, 96, 128)
    assert time.process_time() - begun < 0.5


def test_limits_name_the_picture_and_the_bound(photo, tmp_path):
    path = tmp_path / "big.png"
    Image.fromarray(photo(3)).save(path)
    for limits, words in (
        (Limits(max_pixels=800), "megapixels"),
        (Limits(max_side=30), "30 on a side"),
        (Limits(max_bytes=100), "100 are taken"),
    ):
        with pytest.raises(ImageSizeError, match=words) as caught:
            decode(path, limits=limits)
        assert "big.png" in str(caught.value)
    for source in (path.read_bytes(), io.BytesIO(path.read_bytes())):
        with pytest.raises(ImageSizeError, match="bytes"):
            decode(source, limits=Limits(max_bytes=100))
    with Image.open(path) as image:
        for source in (photo(3), image):
            with pytest.raises(ImageSizeError, match="side"):
                decode(source, limits=Limits(max_side=30))


def test_output_limits_come_before_any_work():
    with pytest.raises(ImageSizeError, match=r"a\.png: the result: 20000 x 20000"):
        Limits(max_side=100_000).check_output(20_000, 20_000, "a.png")
    SERVICE_LIMITS.check_output(14_000, 14_000, "a.png")
    LIBRARY_LIMITS.check_input(15_000, 13_000, "a.png")


def test_floating_point_tiff_out_of_range_is_refused():
    samples = np.linspace(0, 4, 300, dtype=np.float32).reshape(10, 10, 3)
    file = codec.write(Raster(samples, "rgb"), "tiff", quality=None, lossless=True)
    with pytest.raises(ImageValueError, match=r"\[0, 1\]"):
        decode(file)


@pytest.mark.parametrize("name", FILES)
def test_mutated_files_are_refused_or_whole(name):
    rng = np.random.default_rng(list(FILES).index(name))
    for _ in range(12):
        data = bytearray(FILES[name])
        for place in rng.integers(0, len(data), rng.integers(1, 12)):
            data[place] = rng.integers(256)
        try:
            picture = decode(bytes(data), limits=SERVICE_LIMITS)
        except ImageError:
            continue
        assert bool(picture.image.isfinite().all())
