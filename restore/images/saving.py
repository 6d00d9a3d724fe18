"""Encode results and maps, and write them whole or not at all."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from restore.errors import ImageValueError, ParameterError
from restore.images import codec, containers
from restore.images.encoding import encode
from restore.images.formats import format_of
from restore.images.picture import Picture
from restore.images.raster import Raster
from restore.images.writing import write_atomically


def save(
    picture: Picture,
    restored: Tensor,
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    quality: int | None = None,
    lossless: bool | None = None,
    keep_gps: bool = False,
) -> tuple[str, ...]:
    """Encode a restored picture (see `encode`) and write it atomically; the format follows the suffix.

    Returns:
        Warnings: what the format could not keep.

    Raises:
        ParameterError: an unknown suffix (checked first), a quality out of range.
        OutputError: the folder is missing or not writable, the disk is full, ...; an existing file is as it was.
    """
    kind = format if format is not None else format_of(path)
    notes: list[str] = []
    data = encode(picture, restored, format=kind, quality=quality, lossless=lossless, keep_gps=keep_gps, warnings=notes)
    write_atomically(path, data)
    return tuple(notes)


def encode_map(values: NDArray[np.floating] | Tensor, format: str) -> bytes:
    """An uncertainty map as a file.

    Args:
        values: standard deviations >= 0, [H, W] or with leading axes of length 1; a colour axis of 3 before [H, W]
            is reduced to its root mean square.
        format: "npy" keeps the float32 values; "png" holds `round(value / scale)` in 16-bit grey, with `scale` as a
            decimal number in a tEXt chunk named "Scale".

    Raises:
        ParameterError: another format.
        ImageValueError: NaN, infinity, negative values, or another shape.
    """
    array = np.asarray(values.detach().float().cpu().numpy() if isinstance(values, Tensor) else values, np.float32)
    while array.ndim > 2 and array.shape[0] == 1:
        array = array[0]
    if array.ndim == 3 and array.shape[0] == 3:
        array = np.sqrt(np.mean(np.square(array), axis=0, dtype=np.float32))
    if array.ndim != 2 or array.size == 0:
        raise ImageValueError(f"the map has shape {array.shape}; [height, width] is taken")
    if not np.isfinite(array).all() or array.min() < 0:
        raise ImageValueError("the map holds NaN, infinity or negative values")
    if format == "npy":
        out = io.BytesIO()
        np.save(out, array, allow_pickle=False)
        return out.getvalue()
    if format == "png":
        scale = float(array.max()) / 65535.0 or 1.0
        levels = np.rint(array / np.float32(scale)).clip(0, 65535).astype(np.uint16)
        data = codec.write(Raster(levels[..., None], "grey"), "png", quality=None, lossless=True)
        return containers.png_with(data, None, None, {"Scale": repr(scale)})
    raise ParameterError(f"an uncertainty map is written as png or npy, not {format}")


def save_map(values: NDArray[np.floating] | Tensor, path: str | os.PathLike[str]) -> None:
    """Write an uncertainty map as `.npy` or `.png`; see `encode_map`.

    Raises:
        ParameterError: another suffix.
        ImageValueError: as `encode_map`.
        OutputError: as `save`.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in (".npy", ".png"):
        raise ParameterError(f"{path}: an uncertainty map is written as .png or .npy")
    write_atomically(path, encode_map(values, suffix[1:]))
