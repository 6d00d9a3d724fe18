"""From a restored picture back to what its source was, and to a file.

For a result of the source's size only the *change* is converted: `sample + (back(restored) - back(core))`, rounded, in
the file's own colour space. Where nothing changed the file's own sample comes back exactly, whatever the profile, and
colours outside the core's gamut survive. In CMYK many inks make one colour, so a difference of inks means little: there
changed pixels are converted plainly and unchanged ones keep their inks. Results of another size are converted plainly.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from PIL import Image
from torch import Tensor

from restore.errors import NumericalError, OutputError, ParameterError
from restore.images import codec, containers, exif, icc, xmp
from restore.images.colour import white
from restore.images.decoding import STRIP_PIXELS
from restore.images.formats import FORMATS, Format
from restore.images.picture import Picture
from restore.images.raster import Floats, Raster, Samples

_DTYPES: dict[Any, type] = {8: np.uint8, 16: np.uint16, "float": np.float32}
_FULL: dict[Any, float] = {8: 255.0, 16: 65535.0, "float": 1.0}


def encode(
    picture: Picture,
    restored: Tensor,
    *,
    format: str | None = None,
    quality: int | None = None,
    lossless: bool | None = None,
    keep_gps: bool = False,
    warnings: list[str] | None = None,
) -> bytes:
    """Encode a restored picture with all that its source carried.

    Args:
        picture: what `decode` gave.
        restored: [1, 3, H2, W2] sRGB in [-1, 1]; values beyond are clipped. Grey pictures stay grey (the mean of the
            channels); see `Picture.coloured`.
        format: "png", "jpeg", "webp", "tiff", "avif", "ppm" or "bmp"; None for the source's, or PNG.
        quality: 1 to 100 for JPEG, WebP and AVIF; JPEG's default is 95 without chroma subsampling, AVIF's 90.
        lossless: for WebP (the default unless a quality is given) and AVIF (the default is not).
        keep_gps: keep the place in EXIF and XMP.
        warnings: what could not be kept is appended here.

    Raises:
        ParameterError: an unknown format, a quality out of range, a shape that does not fit.
        NumericalError: NaN or infinity in `restored`.
        OutputError: the format cannot hold so large a picture.
    """
    notes = warnings if warnings is not None else []
    kind = _format(format if format is not None else picture.format if picture.format in FORMATS else "png")
    if quality is not None and not 1 <= quality <= 100:
        raise ParameterError(f"quality must lie between 1 and 100, not {quality!r}")
    height, width = _checked(restored)
    if max(width, height) > kind.max_side:
        raise OutputError(f"{width} x {height} pixels do not fit into {kind.name.upper()}; use .png or .tif")
    picture = space_for(picture, kind, notes)
    samples, alpha = _samples(picture, restored)
    samples, alpha = _depth_for(kind, samples, alpha, notes)
    samples, alpha = _alpha_for(kind, picture, samples, alpha, notes)
    if not kind.grey and picture.grey:
        samples = np.repeat(samples, 3, axis=2)
    facts, packet, iptc = metadata_for(kind, picture, width, height, keep_gps, notes)
    raster = Raster(
        samples=samples,
        space="rgb" if not kind.grey and picture.grey else picture.space,
        alpha=alpha,
        icc=picture.icc,
        exif=facts,
        xmp=packet,
        iptc=iptc,
        dpi=picture.dpi,
    )
    exact = lossless if lossless is not None else kind.name == "webp" and quality is None
    try:
        return codec.write(raster, kind.name, quality=quality, lossless=exact)
    except codec.CodecError as error:
        raise OutputError(
            f"the result cannot be encoded as {kind.name.upper()} ({str(error).strip()[:120]})"
        ) from error


def to_array(restored: Tensor, picture: Picture) -> Samples:
    """The restored picture as the source was: [H, W, C], its depth, its colour space, its alpha as the last channel.

    uint8 or uint16, or float32 in [0, 1] for sources of floats. Raises as `encode` does.
    """
    _checked(restored)
    samples, alpha = _samples(picture, restored)
    return samples if alpha is None else np.dstack([samples, alpha])


def to_pil(restored: Tensor, picture: Picture) -> Image.Image:
    """The restored picture as a PIL image with its profile in `info`.

    PIL has 16 bits for grey without alpha only; anything else becomes 8 bits. Raises as `encode` does.
    """
    _checked(restored)
    samples, alpha = _samples(picture, restored)
    if picture.depth != 8 and not (picture.depth == 16 and picture.grey and alpha is None):
        samples, alpha = _to_bits(samples, 8), None if alpha is None else _to_bits(alpha, 8)
    if picture.space == "cmyk":
        alpha = None
    whole = samples if alpha is None else np.dstack([samples, alpha])
    mode = "CMYK" if picture.space == "cmyk" else None
    flat = whole[..., 0] if whole.shape[2] == 1 else np.ascontiguousarray(whole)
    image = (
        Image.fromarray(flat) if mode is None else Image.frombytes(mode, (flat.shape[1], flat.shape[0]), flat.tobytes())
    )
    if picture.icc:
        image.info["icc_profile"] = picture.icc
    if picture.dpi:
        image.info["dpi"] = picture.dpi
    return image


def _checked(restored: Tensor) -> tuple[int, int]:
    """(height, width)."""
    if restored.ndim != 4 or restored.shape[0] != 1 or restored.shape[1] != 3 or 0 in restored.shape:
        raise ParameterError(f"the restored picture has shape {list(restored.shape)}; [1, 3, height, width] is taken")
    return int(restored.shape[2]), int(restored.shape[3])


def _format(name: str) -> Format:
    wanted = name.lower().lstrip(".")
    for kind in FORMATS.values():
        if wanted == kind.name or "." + wanted in kind.suffixes:
            return kind
    raise ParameterError(f"unknown format {name!r}; known are {', '.join(FORMATS)}")


def _samples(picture: Picture, restored: Tensor) -> tuple[Samples, Samples | None]:
    """([H2, W2, C] in the picture's depth and space, alpha [H2, W2] or None)."""
    height, width = int(restored.shape[2]), int(restored.shape[3])
    same_size = (height, width) == (picture.height, picture.width)
    original = picture.samples if same_size and not _comes_back(picture) else None
    out: Samples | None = None
    rows = max(1, STRIP_PIXELS // width)
    for top in range(0, height, rows):
        rgb = _strip(restored, top, rows)
        if not np.isfinite(rgb).all():
            raise NumericalError("the restored picture holds NaN or infinity")
        same = None if original is None else (_strip(picture.image, top, rows), original[top : top + rows])
        strip = strip_samples(picture, rgb, same)
        if out is None:
            out = np.empty((height, width, strip.shape[2]), strip.dtype)
        out[top : top + rows] = strip
    assert out is not None
    return out, _alpha(picture, height, width)


def strip_samples(picture: Picture, rgb: Floats, same: tuple[Floats, Samples] | None) -> Samples:
    """Rows of a result in the picture's depth and space.

    Args:
        picture: facts of the source.
        rgb: [h, W, 3] in [0, 1]; values beyond are clipped.
        same: the core's own rows like `rgb` and the file's samples [h, W, C] of a result of the source's size; only
            the change is converted then, but where the core's values come back exactly without.
    """
    full = np.float32(_FULL[picture.depth])
    values = picture.colours.encode(np.clip(rgb, 0.0, 1.0))
    if same is not None and not _comes_back(picture):
        core, before = same
        if picture.space == "cmyk":
            kept = (rgb == core).all(axis=2, keepdims=True)
            values = np.where(kept, before.astype(np.float32) / full, values)
        else:
            values = before.astype(np.float32) / full + (values - picture.colours.encode(core))
    values = np.clip(values, 0.0, 1.0)
    values *= full
    whole: Samples = values if picture.depth == "float" else np.rint(values, out=values)
    return whole.astype(_DTYPES[picture.depth])


def _comes_back(picture: Picture) -> bool:
    """Whether the file's samples are found again from the core's values exactly: whole numbers in sRGB."""
    return picture.colours.same and picture.depth != "float"


def _strip(image: Tensor, top: int, rows: int) -> Floats:
    """Rows of [1, 3, H, W] in [-1, 1] as [h, W, 3] in [0, 1]."""
    strip = np.array(image[0, :, top : top + rows].detach().float().cpu().numpy().transpose(1, 2, 0), order="C")
    strip += np.float32(1.0)
    strip *= np.float32(0.5)
    return strip


def _alpha(picture: Picture, height: int, width: int) -> Samples | None:
    """The source's alpha, resized when the result has another size."""
    alpha = picture.alpha
    if alpha is None or alpha.shape == (height, width):
        return alpha
    shrinking = height < alpha.shape[0]
    resized: Samples = cv2.resize(
        alpha, (width, height), interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_CUBIC
    )
    return resized.clip(0.0, 1.0) if alpha.dtype == np.float32 else resized


def space_for(picture: Picture, kind: Format, notes: list[str]) -> Picture:
    """The picture in its own space if the format can hold it, in sRGB otherwise."""
    name = kind.name.upper()
    if picture.space == "cmyk" and not kind.cmyk:
        notes.append(f"{name} cannot hold CMYK; converted to sRGB")
        return picture.in_srgb()
    # An RGB profile in a grey file is met, but encoders refuse to write one.
    misfit = picture.grey and (not kind.grey or icc.channels(picture.icc or b"") == 3)
    if picture.icc and (misfit or not kind.icc):
        if not picture.colours.same:
            notes.append(f"{name} cannot hold this colour profile; converted to sRGB")
            return picture.in_srgb(picture.space)
        return replace(picture, icc=None)
    return picture


def _depth_for(
    kind: Format, samples: Samples, alpha: Samples | None, notes: list[str]
) -> tuple[Samples, Samples | None]:
    if samples.dtype == np.float32 and not kind.floats:
        bits = 16 if 16 in kind.bits else 8
        samples, alpha = _to_bits(samples, bits), None if alpha is None else _to_bits(alpha, bits)
    if samples.dtype != np.uint16 or 16 in kind.bits:
        return samples, alpha
    if 12 in kind.bits:
        notes.append(f"{kind.name.upper()} holds 12 bits; the picture's 16 were rounded")
        return _to_12_bits(samples), None if alpha is None else _to_12_bits(alpha)
    notes.append(f"{kind.name.upper()} holds 8 bits; the picture's 16 were rounded (PNG and TIFF keep them)")
    return _to_bits(samples, 8), None if alpha is None else _to_bits(alpha, 8)


def _to_bits(samples: Samples, bits: int) -> Samples:
    full = np.float32(_FULL[bits])
    if samples.dtype == _DTYPES[bits]:
        return samples
    scaled: Samples = np.rint(samples.astype(np.float32) * (full / np.float32(white(samples))))
    return scaled.astype(_DTYPES[bits])


def _to_12_bits(samples: Samples) -> Samples:
    """16-bit codes whose lower four bits are zero, as the decoder gives 10 and 12 bits: those come back unchanged."""
    codes: Samples = np.minimum((samples.astype(np.uint32) + 8) >> 4, 4095) << 4
    return codes.astype(np.uint16)


def _alpha_for(
    kind: Format, picture: Picture, samples: Samples, alpha: Samples | None, notes: list[str]
) -> tuple[Samples, Samples | None]:
    """Without a place for alpha, lay the picture on white."""
    if alpha is None or kind.alpha:
        return samples, alpha
    top = white(alpha)
    if (alpha == top).all():
        return samples, None
    notes.append(f"{kind.name.upper()} cannot hold transparency; laid on white (PNG, WebP and TIFF keep it)")
    paper = np.float32(0.0 if picture.space == "cmyk" else top)
    cover = (alpha.astype(np.float32) / np.float32(top))[..., None]
    flat = samples.astype(np.float32) * cover + paper * (1 - cover)
    return np.rint(flat).astype(samples.dtype), None


def metadata_for(
    kind: Format, picture: Picture, width: int, height: int, keep_gps: bool, notes: list[str]
) -> tuple[bytes | None, bytes | None, bytes | None]:
    """EXIF, XMP and IPTC for the result. What cannot be read cannot be promised to be free of the place: it goes."""
    facts, packet, iptc = picture.exif, picture.xmp, picture.iptc
    if not kind.metadata:
        if facts or packet or iptc:
            notes.append(f"{kind.name.upper()} cannot hold metadata; EXIF, XMP and IPTC were dropped")
        return None, None, None
    if facts:
        try:
            facts = exif.cleaned(facts, width, height, keep_gps)
        except exif.ExifError as error:
            facts = None
            notes.append(f"the EXIF block is malformed ({error}) and was dropped")
    if packet:
        try:
            packet = xmp.cleaned(packet, keep_gps)
        except xmp.XmpError as error:
            packet = None
            notes.append(f"the XMP packet is malformed ({error}) and was dropped")
    if kind.name == "jpeg":
        fits = containers.jpeg_fits(facts, packet)
        if not fits[0]:
            facts = None
            notes.append("the EXIF block is too long for a JPEG file and was dropped")
        if not fits[1]:
            packet = None
            notes.append("the XMP packet is too long for a JPEG file and was dropped")
    return facts, packet, iptc
