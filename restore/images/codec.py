"""The codecs and the colour engine: libvips, through pyvips. The only file that knows.

Why libvips and not Pillow, which is also here for PIL pictures, BMP and the EXIF of TIFF files: Pillow has no 16-bit
RGB at all, so a 16-bit PNG or TIFF would lose half its bits, and its colour management is 8-bit only. libvips reads
and writes 8 and 16 bits in PNG and TIFF, 10 and 12 in AVIF, CMYK, keeps ICC profiles byte for byte, reads the header
without the pixels, and can be told to fail on damage. `pyvips[binary]` is one wheel without system packages. OpenCV
reads 16 bits too, but not CMYK, and hands over no profile with most formats.

What libvips does not do well is left out of its hands: EXIF, which it would write anew through libexif, losing private
tags (see `containers`), and matrix profiles (see `colour`).
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyvips
from PIL import BmpImagePlugin, Image

from restore.errors import ImageValueError, UndecodableImageError
from restore.images import containers, netpbm, tiff_exif
from restore.images.jpeg import jpeg_size
from restore.images.limits import Limits
from restore.images.raster import CHANNELS, Raster, Samples, Space

# libvips remembers finished operations, and with them the files they were made from.
pyvips.cache_set_max(0)

CodecError = pyvips.Error


_LOADERS = {"png": "png", "jpeg": "jpeg", "webp": "webp", "tiff": "tiff", "avif": "heif", "heic": "heif"}
_DTYPES = {"uchar": np.uint8, "ushort": np.uint16, "float": np.float32, "double": np.float64}
_NO_DPI = (72.0, 72.0)
"""Written when the source says nothing, since libvips always writes a resolution."""
_MAX_BLOCK = 16 * 2**20
"""Longest profile or metadata block kept, in bytes."""


def read(data: bytes, kind: str, limits: Limits, name: str) -> Raster:
    """Decode a picture of the format `kind` (as `sniff` calls it).

    Raises:
        ImageSizeError: beyond the limits; only the header has been read then.
        ImageValueError: a sample type or colour model that cannot be restored.
        UndecodableImageError: damaged, incomplete, or no decoder for it in this build.
    """
    if kind == "bmp":
        return _read_bmp(data, limits, name)
    if kind == "ppm":
        return _read_ppm(data, limits, name)
    with naming_damage(kind, name):
        image, data, xmp, frames = open_checked(data, kind, limits, name)
        samples = _pixels(image)
    if samples.dtype.kind == "f":
        samples = samples.astype(np.float32, copy=False)
        check_floats(samples, name)
    return described(image, data, kind, xmp, frames, samples)


def described(image: Any, data: bytes, kind: str, xmp: bytes | None, frames: int, samples: Samples) -> Raster:
    """Samples, or some of their rows, with everything else an opened image holds.

    Args:
        image: see `open_checked`.
        data: likewise.
        kind: of the file.
        xmp: see `open_checked`.
        frames: likewise.
        samples: [h, W, bands].
    """
    space = space_of(image)
    count = CHANNELS[space]
    alpha = np.ascontiguousarray(samples[..., count]) if image.bands > count else None
    exif = block_of(image, "exif-data")
    if kind == "tiff":
        exif = tiff_exif.read(data)
    return Raster(
        samples=np.ascontiguousarray(samples[..., :count]),
        space=space,
        alpha=alpha,
        orientation=field_of(image, "orientation", 1),
        icc=block_of(image, "icc-profile-data"),
        exif=exif.removeprefix(b"Exif\0\0") if exif else None,
        xmp=xmp or block_of(image, "xmp-data"),
        iptc=block_of(image, "iptc-data"),
        dpi=_dpi(image, exif),
        frames=frames,
    )


@contextmanager
def naming_damage(kind: str, name: str) -> Iterator[None]:
    """Turn what the library raises on a broken file into `UndecodableImageError`."""
    try:
        yield
    except (pyvips.Error, containers.ContainerError) as error:
        what = "damaged, incomplete, or needs a decoder this build lacks" if kind == "heic" else "damaged or incomplete"
        raise UndecodableImageError(f"{name}: the {kind.upper()} data is {what} ({_reason(error)})") from error


def open_checked(data: bytes, kind: str, limits: Limits, name: str) -> tuple[Any, bytes, bytes | None, int]:
    """Read the header only, and judge it.

    Returns:
        (the library's image, no pixel of which is decoded; the file without what is not needed; XMP, where it has been
        found already; the number of frames, as far as it is known).
    """
    # The library's own bounds come before ours otherwise, and speak of damage.
    claimed = _claimed_size(data, kind)
    if claimed is not None:
        limits.check_input(*claimed, name)
    xmp: bytes | None = None
    frames = 1
    if kind == "png":
        data, xmp, frames = containers.png_essentials(data)
    image = _open(data, kind)
    limits.check_input(image.width, image.height, name)
    _check_kind(image, name)
    return image, data, xmp, max(frames, field_of(image, "n-pages", 1))


def strips(image: Any, pixels: int) -> Iterator[Samples]:
    """The rows of an opened image from top to bottom, [h, W, C] of about `pixels` at a time, decoded as they come."""
    region = pyvips.Region.new(image)
    height = max(1, pixels // image.width)
    for top in range(0, image.height, height):
        rows = min(height, image.height - top)
        flat: Samples = np.frombuffer(region.fetch(0, top, image.width, rows), _DTYPES[image.format])
        yield flat.reshape(rows, image.width, image.bands)


def check_floats(samples: Samples, name: str) -> None:
    """Raise `ImageValueError` when a floating-point sample is not in [0, 1]."""
    if not (np.isfinite(samples).all() and samples.min() >= 0 and samples.max() <= 1):
        raise ImageValueError(f"{name}: holds floating-point samples outside [0, 1]; scale them first")


def space_of(image: Any) -> Space:
    """What an opened image's channels are."""
    return "cmyk" if image.interpretation == "cmyk" else "grey" if image.bands < 3 else "rgb"


def write(raster: Raster, kind: str, *, quality: int | None, lossless: bool) -> bytes:
    """Encode samples the format can hold (see `formats.FORMATS`); the caller has converted them.

    Args:
        raster: with orientation 1.
        kind: a key of `formats.FORMATS`.
        quality: 1 to 100 for lossy coding.
        lossless: for formats that can do both.
    """
    if kind == "bmp":
        return _write_bmp(raster)
    if kind == "ppm":
        return netpbm.write(raster.samples)
    samples = raster.samples if raster.alpha is None else np.dstack([raster.samples, raster.alpha])
    image, options = _prepared(_wrap(samples, raster.space), raster, kind, quality, lossless)
    data: bytes = image.write_to_buffer("." + kind, **options)
    if kind == "png":
        return containers.png_with(data, raster.exif, raster.xmp)
    if kind == "jpeg":
        return containers.jpeg_with(data, raster.exif, raster.xmp)
    if kind == "webp":
        width, height = samples.shape[1], samples.shape[0]
        return containers.webp_with(data, raster.exif, raster.xmp, width, height, raster.alpha is not None)
    if kind == "tiff" and raster.exif:
        return tiff_exif.add(data, raster.exif)
    return data


#: Formats that `write_rows` knows; they are encoded row by row.
STREAMED = ("png", "jpeg", "tiff")


def write_rows(rows: Path, size: tuple[int, int], raster: Raster, kind: str, target: Path) -> None:
    """Encode samples from a file into another, holding few rows at a time.

    Args:
        rows: file of the samples, interleaved, alpha last, and nothing else.
        size: (width, height).
        raster: everything but the samples; of those, and of alpha, only the type and the number of channels count.
        kind: one of `STREAMED`; a TIFF file is written without EXIF.
        target: is written, and replaced.
    """
    bands = raster.samples.shape[2] + (raster.alpha is not None)
    formats = {np.dtype(v): k for k, v in _DTYPES.items()}
    source = pyvips.Image.rawload(str(rows), *size, bands, format=formats[raster.samples.dtype], access="sequential")
    image = source.copy(interpretation=_interpretation(raster.space, raster.samples.dtype))
    image, options = _prepared(image, raster, kind, None, True)
    if kind == "jpeg":
        # Optimal Huffman tables need two passes, and all coefficients in memory between them.
        options["optimize_coding"] = False
    image.write_to_file(str(target.with_suffix("." + kind)), **options)


def _prepared(image: Any, raster: Raster, kind: str, quality: int | None, lossless: bool) -> tuple[Any, dict[str, Any]]:
    """An image with its blocks and resolution, and what to tell the encoder."""
    options = _options(kind, raster.samples.dtype, quality, lossless)
    blocks = {"icc-profile-data": raster.icc}
    if kind in ("tiff", "avif"):
        blocks["xmp-data"] = raster.xmp
    if kind == "avif" and raster.exif:
        blocks["exif-data"] = b"Exif\0\0" + raster.exif
    if kind in ("tiff", "jpeg"):
        blocks["iptc-data"] = raster.iptc
    for field, block in blocks.items():
        if block:
            image.set_type(pyvips.GValue.blob_type, field, block)
    dots = raster.dpi or _NO_DPI
    image = image.copy(xres=dots[0] / 25.4, yres=dots[1] / 25.4)
    # Without a list of what to keep, libvips writes an EXIF block of its own making.
    keep = "icc|xmp|iptc" + ("|exif" if "exif-data" in blocks else "")
    return image, {"keep": keep, **options}


def to_srgb(samples: Samples, space: Space, profile: bytes | None) -> Samples:
    """uint8 or uint16 samples [h, w, C] to 16-bit sRGB [h, w, 3] with Little CMS (None: a standard CMYK profile)."""
    image = _wrap(samples, space)
    options: dict[str, Any] = {"intent": "relative", "black_point_compensation": True}
    if profile is None:
        options["input_profile"] = "cmyk"
    else:
        image.set_type(pyvips.GValue.blob_type, "icc-profile-data", profile)
        options["embedded"] = True
    lab = image.icc_import(**options)
    return _pixels(lab.icc_export(output_profile="srgb", depth=16, intent="relative", black_point_compensation=True))


def from_srgb(samples: Samples, space: Space, profile: bytes | None) -> Samples:
    """16-bit sRGB [h, w, 3] to 16-bit samples [h, w, C] of a profile."""
    options: dict[str, Any] = {"intent": "relative", "black_point_compensation": True}
    lab = _wrap(samples, "rgb").icc_import(input_profile="srgb", **options).copy()
    if profile is None:
        options["output_profile"] = "cmyk"
    else:
        lab.set_type(pyvips.GValue.blob_type, "icc-profile-data", profile)
    return _pixels(lab.icc_export(depth=16, **options))


def _open(data: bytes, kind: str) -> Any:
    """The picture with only its header read."""
    loader = getattr(pyvips.Image, _LOADERS[kind] + "load_buffer")
    return loader(data, access="sequential", fail_on="error")


def _claimed_size(data: bytes, kind: str) -> tuple[int, int] | None:
    """(width, height) of the header, where it is easy to find."""
    if kind == "png" and len(data) >= 24:
        width, height = struct.unpack_from(">II", data, 16)
        return width, height
    return jpeg_size(data) if kind == "jpeg" else None


def _pixels(image: Any) -> Samples:
    """[H, W, C], decoded into memory that libvips gives up."""
    flat: Samples = np.frombuffer(image.write_to_memory(), _DTYPES[image.format])
    return flat.reshape(image.height, image.width, image.bands)


def _wrap(samples: Samples, space: Space) -> Any:
    samples = np.ascontiguousarray(samples)
    height, width, bands = samples.shape
    formats = {np.dtype(v): k for k, v in _DTYPES.items()}
    image = pyvips.Image.new_from_memory(samples.data, width, height, bands, formats[samples.dtype])
    return image.copy(interpretation=_interpretation(space, samples.dtype))


def _interpretation(space: Space, dtype: Any) -> str:
    wide = dtype == np.uint16
    return {"grey": "grey16" if wide else "b-w", "rgb": "rgb16" if wide else "srgb", "cmyk": "cmyk"}[space]


def _options(kind: str, dtype: Any, quality: int | None, lossless: bool) -> dict[str, Any]:
    if kind == "jpeg":
        return {"Q": quality or 95, "subsample_mode": "off", "optimize_coding": True}
    if kind == "webp":
        return {"lossless": True, "exact": True} if lossless else {"Q": quality or 95, "smart_subsample": True}
    if kind == "avif":
        bits = 8 if dtype == np.uint8 else 12
        how = {"lossless": True} if lossless else {"Q": quality or 90}
        return {**how, "subsample_mode": "off", "bitdepth": bits, "compression": "av1", "effort": 4}
    if kind == "tiff":
        predictor = "float" if dtype.kind == "f" else "horizontal"
        return {"compression": "deflate", "predictor": predictor}
    if kind == "png":
        # Of 35 restored photographs this filter made files 5 % smaller than the next best, and all filters make them 20
        # to 35 % smaller than none; level 3 would take off 2 % in a tenth more time, level 6 up to 4 % in up to twice.
        return {"compression": 2, "filter": "avg", "bitdepth": 16 if dtype == np.uint16 else 8}
    return {}


def _check_kind(image: Any, name: str) -> None:
    if image.format not in _DTYPES:
        raise ImageValueError(f"{name}: holds {image.format} samples; 8 or 16 bits or floats in [0, 1] are taken")
    if image.interpretation in ("lab", "labs", "lch", "xyz") or image.coding != "none":
        raise ImageValueError(f"{name}: holds {image.interpretation.upper()} colour; convert it to RGB first")
    if image.bands > (5 if image.interpretation == "cmyk" else 4):
        raise ImageValueError(f"{name}: has {image.bands} channels; grey, RGB or CMYK with at most one alpha are taken")


def field_of(image: Any, name: str, default: int) -> int:
    """A number beside the pixels of an opened image."""
    return int(image.get(name)) if image.get_typeof(name) else default


def block_of(image: Any, name: str) -> bytes | None:
    """A block beside the pixels of an opened image; None when there is none or it is absurdly long."""
    if not image.get_typeof(name):
        return None
    block = bytes(image.get(name))
    return block if 0 < len(block) <= _MAX_BLOCK else None


def _dpi(image: Any, exif: bytes | None) -> tuple[float, float] | None:
    """libvips gives 1 pixel a millimetre, or 72 dots an inch, when a file does not say."""
    dots = (round(image.xres * 25.4, 3), round(image.yres * 25.4, 3))
    return None if dots in ((25.4, 25.4), (72.009, 72.009)) or min(dots) <= 0 else dots


def _reason(error: Exception) -> str:
    text = str(getattr(error, "detail", None) or error).strip().splitlines()
    return text[0][:120] if text else "no detail given"


def _read_bmp(data: bytes, limits: Limits, name: str) -> Raster:
    try:
        image = BmpImagePlugin.BmpImageFile(io.BytesIO(data))
        limits.check_input(image.width, image.height, name)
        samples = np.asarray(image.convert("L" if image.mode in ("1", "L") else "RGB"))
    except (OSError, SyntaxError, EOFError, TypeError, OverflowError) as error:
        raise UndecodableImageError(f"{name}: the BMP data is damaged or incomplete ({_reason(error)})") from error
    return Raster(samples.reshape(*samples.shape[:2], -1), "grey" if samples.ndim == 2 else "rgb")


def _read_ppm(data: bytes, limits: Limits, name: str) -> Raster:
    try:
        limits.check_input(*netpbm.header(data)[:2], name)
        samples = netpbm.read(data)
    except containers.ContainerError as error:
        raise UndecodableImageError(f"{name}: the PPM data is damaged or incomplete ({error})") from error
    return Raster(samples, "grey" if samples.shape[2] == 1 else "rgb")


def _write_bmp(raster: Raster) -> bytes:
    out = io.BytesIO()
    Image.fromarray(raster.samples.squeeze(2) if raster.space == "grey" else raster.samples).save(out, "BMP")
    return out.getvalue()
