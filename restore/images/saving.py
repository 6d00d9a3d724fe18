"""Write results so that a file is either the old one or the whole new one."""

from __future__ import annotations

import contextlib
import io
import os
import secrets
import stat
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from restore.errors import ImageValueError, OutputError, ParameterError
from restore.images import codec, containers
from restore.images.codec import FORMATS
from restore.images.encoding import encode
from restore.images.picture import Picture
from restore.images.raster import Raster

SUFFIXES = {suffix: kind.name for kind in FORMATS.values() for suffix in kind.suffixes}


def format_of(path: str | os.PathLike[str]) -> str:
    """The format a file name asks for.

    Raises:
        ParameterError: an unknown suffix, or none; the message lists the known ones.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        what = f"the suffix {suffix!r}" if suffix else "no suffix"
        raise ParameterError(f"{path}: {what} says no format to write; known are {' '.join(SUFFIXES)}")
    return SUFFIXES[suffix]


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


def write_atomically(path: str | os.PathLike[str], data: bytes) -> None:
    """Write beside the target, flush to the disk, then take the target's place.

    A link is followed, an existing file's mode is kept, a new one gets what the umask leaves. Devices and pipes are
    written to directly.

    Raises:
        OutputError: with the path and what to do; the target is untouched and nothing is left behind.
    """
    target = Path(os.path.realpath(path))
    try:
        mode: int | None = None
        with contextlib.suppress(FileNotFoundError):
            found = target.stat()
            if stat.S_ISDIR(found.st_mode):
                raise IsADirectoryError
            if not stat.S_ISREG(found.st_mode):
                target.write_bytes(data)
                return
            mode = stat.S_IMODE(found.st_mode)
        _replace(target, data, mode)
    except FileNotFoundError as error:
        raise OutputError(f"{path}: the folder {target.parent} does not exist; create it first") from error
    except NotADirectoryError as error:
        raise OutputError(f"{path}: {target.parent} is not a folder; choose another output") from error
    except IsADirectoryError as error:
        raise OutputError(f"{path}: is a folder; give a file name in it") from error
    except PermissionError as error:
        raise OutputError(f"{path}: no permission to write in {target.parent}; choose another output") from error
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error}); the disk may be full") from error


def _replace(target: Path, data: bytes, mode: int | None) -> None:
    beside = target.with_name(f".{target.name[:100]}.{secrets.token_hex(6)}.part")
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            if mode is not None:
                os.chmod(beside, mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise
    with contextlib.suppress(OSError):  # some file systems cannot flush a folder
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
