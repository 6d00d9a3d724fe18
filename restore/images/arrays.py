"""Pictures that are in memory already: arrays, tensors, PIL images."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, JpegImagePlugin
from torch import Tensor

from restore.errors import ImageValueError, UndecodableImageError
from restore.images.exif import orientation
from restore.images.jpeg import JpegFacts, jpeg_facts
from restore.images.limits import Limits
from restore.images.raster import CHANNELS, Raster, Samples, Space

_PIL_MODES = {
    "1": "L", "L": "L", "LA": "LA", "La": "LA", "PA": "RGBA", "RGB": "RGB", "RGBA": "RGBA", "RGBa": "RGBA",
    "RGBX": "RGB", "YCbCr": "RGB", "HSV": "RGB", "CMYK": "CMYK",
}  # fmt: skip
_CHANNELS_TAKEN = "1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha)"


def from_array(array: np.ndarray, limits: Limits, name: str) -> Raster:
    """[H, W] or [H, W, C], uint8, uint16 or float in [0, 1]; copied. Raises as `decode` does."""
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3:
        raise ImageValueError(f"{name}: has shape {array.shape}; [height, width] or [height, width, channels] is taken")
    height, width, channels = array.shape
    if channels not in (1, 2, 3, 4):
        hint = "; an array's channels come last" if height in (1, 2, 3, 4) else ""
        raise ImageValueError(f"{name}: has {channels} channels; {_CHANNELS_TAKEN} are taken{hint}")
    limits.check_input(width, height, name)
    if array.dtype.kind == "f":
        samples: Samples = _checked_floats(array, name)
    elif array.dtype in (np.uint8, np.uint16):
        samples = array.astype(array.dtype.newbyteorder("="))
    else:
        raise ImageValueError(f"{name}: has type {array.dtype}; uint8, uint16 or floats in [0, 1] are taken")
    count = 1 if channels < 3 else 3
    space: Space = "grey" if count == 1 else "rgb"
    alpha = np.ascontiguousarray(samples[..., count]) if channels > count else None
    return Raster(np.ascontiguousarray(samples[..., :count]), space, alpha)


def from_tensor(tensor: Tensor, limits: Limits, name: str) -> Raster:
    """[H, W], [C, H, W] or [1, C, H, W], uint8, uint16 or float in [0, 1]. Raises as `decode` does."""
    if tensor.ndim == 4:
        if tensor.shape[0] != 1:
            raise ImageValueError(f"{name}: is a batch of {tensor.shape[0]}; give one picture at a time")
        tensor = tensor[0]
    if tensor.ndim == 3:
        if tensor.shape[0] not in (1, 2, 3, 4):
            hint = "; a tensor's channels come first" if tensor.shape[-1] in (1, 2, 3, 4) else ""
            raise ImageValueError(f"{name}: has {tensor.shape[0]} channels; {_CHANNELS_TAKEN} are taken{hint}")
        tensor = tensor.permute(1, 2, 0)
    if tensor.is_floating_point():
        tensor = tensor.float()
    return from_array(tensor.detach().cpu().numpy(), limits, name)


def from_pil(image: Image.Image, limits: Limits, name: str) -> tuple[Raster, str | None, JpegFacts | None]:
    """A PIL image -> (raster, format, how it was quantised if it was opened from a JPEG file)."""
    limits.check_input(image.width, image.height, name)
    facts = _facts(image)
    try:
        exif = image.info.get("exif") or image.getexif().tobytes()
        turn = image.getexif().get(0x0112, 1)
        image.load()
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise UndecodableImageError(f"{name}: the data is damaged or incomplete ({error})") from error
    exif = exif.removeprefix(b"Exif\0\0") if isinstance(exif, bytes) else b""
    frames = getattr(image, "n_frames", 1) if image.format in ("TIFF", "WEBP", "PNG", "GIF", "AVIF") else 1
    samples = _pil_samples(image, name)
    space: Space = "cmyk" if image.mode == "CMYK" else "grey" if samples.shape[2] < 3 else "rgb"
    count = CHANNELS[space]
    raster = Raster(
        samples=np.ascontiguousarray(samples[..., :count]),
        space=space,
        alpha=np.ascontiguousarray(samples[..., count]) if samples.shape[2] > count else None,
        orientation=turn if isinstance(turn, int) else orientation(exif),
        icc=image.info.get("icc_profile") or None,
        exif=exif if exif and dict(image.getexif()) else None,
        xmp=image.info["xmp"] if isinstance(image.info.get("xmp"), bytes) else None,
        dpi=_pil_dpi(image),
        frames=frames,
    )
    kind = (image.format or "").lower() or None
    return raster, kind if kind in ("png", "jpeg", "webp", "tiff", "avif", "ppm", "bmp") else None, facts


def _pil_samples(image: Image.Image, name: str) -> Samples:
    """[H, W, C], alpha last."""
    mode = image.mode
    samples: Samples
    if mode.startswith("I;16"):
        samples = np.asarray(image).astype(np.uint16)
    elif mode == "I":
        wide = np.asarray(image)
        if wide.min() < 0 or wide.max() > 65535:
            raise ImageValueError(f"{name}: holds 32-bit values outside 0 to 65535; scale them first")
        samples = wide.astype(np.uint16)
    elif mode == "F":
        samples = _checked_floats(np.asarray(image), name)
    else:
        if mode == "P":
            target = "RGBA" if "transparency" in image.info else "RGB"
        elif mode in _PIL_MODES:
            target = _PIL_MODES[mode]
            if "transparency" in image.info and target in ("L", "RGB"):
                target = "RGBA" if target == "RGB" else "LA"
        else:
            raise ImageValueError(f"{name}: has the PIL mode {mode}; convert it to RGB first")
        samples = np.array(image if mode == target else image.convert(target))
    return samples.reshape(image.height, image.width, -1)


def _checked_floats(array: np.ndarray, name: str) -> Samples:
    if not np.isfinite(array).all():
        raise ImageValueError(f"{name}: holds NaN or infinity")
    low, high = float(array.min()), float(array.max())
    if low < 0.0 or high > 1.0:
        hint = "divide by 255" if high > 2.0 and low >= 0.0 else "use (x + 1) / 2 if it is in [-1, 1], or clip it"
        raise ImageValueError(f"{name}: holds floats from {low:g} to {high:g}; [0, 1] is taken ({hint})")
    return array.astype(np.float32)


def _facts(image: Image.Image) -> JpegFacts | None:
    """From the file behind a PIL image, while it is open."""
    file = getattr(image, "fp", None)
    if not isinstance(image, JpegImagePlugin.JpegImageFile) or file is None:
        return None
    try:
        place = file.tell()
        file.seek(0)
        facts = jpeg_facts(file.read(1 << 20))
        file.seek(place)
    except (OSError, ValueError, io.UnsupportedOperation):
        return None
    return facts


def _pil_dpi(image: Image.Image) -> tuple[float, float] | None:
    dpi = image.info.get("dpi")
    try:
        pair = (float(dpi[0]), float(dpi[1])) if dpi else None
    except (TypeError, ValueError, IndexError, ZeroDivisionError):
        return None
    return pair if pair and min(pair) > 0 and np.isfinite(pair).all() else None
