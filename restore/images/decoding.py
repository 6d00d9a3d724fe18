"""From whatever the user has to a `Picture`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from restore.errors import ImageSizeError, ImageValueError, UndecodableImageError
from restore.images import arrays, codec
from restore.images.colour import ColourSpace, colour_space
from restore.images.jpeg import JpegFacts, jpeg_facts
from restore.images.limits import LIBRARY_LIMITS, Limits
from restore.images.picture import Depth, Picture
from restore.images.raster import Raster, Samples, upright
from restore.images.signature import sniff

ImageSource = str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | Image.Image | np.ndarray | Tensor

STRIP_PIXELS = 1 << 17
"""Rows are converted in strips of about this many pixels, to bound what the conversion needs."""


def decode(source: ImageSource, *, limits: Limits = LIBRARY_LIMITS, name: str | None = None) -> Picture:
    """Decode a picture and bring it into the core's form.

    Args:
        source: a path; the bytes of a file, or a binary file object, in PNG, JPEG, WebP, TIFF, AVIF, BMP or PPM
            (HEIC where the decoder has it); a PIL image; an array [H, W] or [H, W, C], uint8, uint16 or float in
            [0, 1], C of 1 (grey), 2 (grey, alpha), 3 (RGB), 4 (RGB, alpha); or a tensor [H, W], [C, H, W] or
            [1, C, H, W] of the same types, channels and range [0, 1] (not the core's [-1, 1]). Arrays are sRGB.
        limits: checked on the header, before pixels are decoded.
        name: what to call the source in messages; a path's default is the path.

    Raises:
        UndecodableImageError: missing, not a picture, of a format not supported, damaged or cut short.
        ImageSizeError: under 2 x 2 pixels, or beyond the limits.
        ImageValueError: NaN, infinity, values out of range, or a number of channels that means nothing here.
    """
    facts: JpegFacts | None = None
    kind: str | None = None
    if isinstance(source, Image.Image):
        name = name or str(getattr(source, "filename", "") or "the PIL image")
        raster, kind, facts = arrays.from_pil(source, limits, name)
    elif isinstance(source, np.ndarray):
        name = name or "the array"
        raster = arrays.from_array(source, limits, name)
    elif isinstance(source, Tensor):
        name = name or "the tensor"
        raster = arrays.from_tensor(source, limits, name)
    else:
        data, name = _bytes(source, limits, name)
        kind = sniff(data, name)
        raster = codec.read(data, kind, limits, name)
        facts = jpeg_facts(data) if kind == "jpeg" else None
        del data
    return _picture(raster, kind, facts, name)


def _bytes(source: Any, limits: Limits, name: str | None) -> tuple[bytes, str]:
    """The encoded file and its name."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        name = name or "the given bytes"
        limits.check_bytes(len(source), name)
        return bytes(source), name
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        name = name or str(path)
        try:
            if path.is_dir():
                raise UndecodableImageError(f"{name}: is a folder, not a picture")
            with path.open("rb") as file:
                return _read(file, limits, name), name
        except FileNotFoundError as error:
            raise UndecodableImageError(f"{name}: no such file") from error
        except OSError as error:
            raise UndecodableImageError(f"{name}: cannot be read ({error.strerror or error})") from error
        except ValueError as error:
            if isinstance(error, (UndecodableImageError, ImageSizeError)):
                raise
            raise UndecodableImageError(f"{name!r}: is no usable path ({error})") from error
    if hasattr(source, "read"):
        name = name or str(getattr(source, "name", "") or "the given file object")
        return _read(source, limits, name), name
    raise ImageValueError(
        f"cannot take a picture from {type(source).__name__}; give a path, bytes, a binary file object, "
        "a PIL image, an array or a tensor"
    )


def _read(file: Any, limits: Limits, name: str) -> bytes:
    data = file.read(limits.max_bytes + 1) if limits.max_bytes < LIBRARY_LIMITS.max_bytes else file.read()
    if not isinstance(data, (bytes, bytearray)):
        raise ImageValueError(f"{name}: is opened as text; open it in binary mode")
    limits.check_bytes(len(data), name)
    return bytes(data)


def _picture(raster: Raster, kind: str | None, facts: JpegFacts | None, name: str) -> Picture:
    warnings = []
    if raster.frames > 1:
        warnings.append(f"{name}: holds {raster.frames} frames; the first is restored")
    colours, icc, trouble = colour_space(raster.space, raster.icc)
    if trouble:
        warnings.append(f"{name}: {trouble}")
    samples = upright(raster.samples, raster.orientation)
    alpha = None if raster.alpha is None else upright(raster.alpha, raster.orientation)
    depth: Depth = {"u1": 8, "u2": 16}.get(samples.dtype.str[1:], "float")  # type: ignore[assignment]
    tables, subsampling, on_grid = _grid(facts, raster, colours)
    return Picture(
        image=_core(samples, colours),
        space=raster.space,
        depth=depth,
        samples=samples,
        alpha=alpha,
        icc=icc,
        exif=raster.exif,
        xmp=raster.xmp,
        iptc=raster.iptc,
        dpi=raster.dpi[::-1] if raster.dpi and raster.orientation in (5, 6, 7, 8) else raster.dpi,
        format=kind,
        quantisation=tables,
        subsampling=subsampling,
        on_grid=on_grid,
        name=name,
        warnings=tuple(warnings),
        colours=colours,
    )


def _core(samples: Samples, colours: ColourSpace) -> Tensor:
    """[H, W, C] -> [1, 3, H, W] float32 in [-1, 1], strip by strip."""
    height, width = samples.shape[:2]
    core = np.empty((3, height, width), np.float32)
    rows = max(1, STRIP_PIXELS // width)
    for top in range(0, height, rows):
        strip = colours.decode(samples[top : top + rows])
        np.multiply(strip.transpose(2, 0, 1), np.float32(2.0), out=core[:, top : top + rows])
        core[:, top : top + rows] -= np.float32(1.0)
    return torch.from_numpy(core).unsqueeze(0)


def _grid(
    facts: JpegFacts | None, raster: Raster, colours: ColourSpace
) -> tuple[dict[int, tuple[int, ...]] | None, tuple[int, int], bool]:
    """(tables, subsampling, whether they describe the upright picture in the core's space)."""
    if facts is None:
        return None, (1, 1), False
    tables, subsampling = facts.tables, facts.subsampling
    height, width = raster.samples.shape[:2]
    down, across = 8 * subsampling[0], 8 * subsampling[1]
    # Reversing an axis keeps the grid in place only when whole blocks fill it.
    moved = (raster.orientation in (3, 4, 6, 7, 8) and height % down) or (
        raster.orientation in (2, 3, 6, 7, 8) and width % across
    )
    if raster.orientation in (5, 6, 7, 8):
        tables = {k: tuple(np.array(t).reshape(8, 8).T.reshape(-1).tolist()) for k, t in tables.items()}
        subsampling = (subsampling[1], subsampling[0])
    return tables, subsampling, bool(facts.ycbcr and colours.same and not moved)
