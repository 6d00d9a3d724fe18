"""Large files read and written in strips, so that no picture-sized array is ever held."""

from __future__ import annotations

import mmap
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from restore.errors import OutputError
from restore.images import codec, containers
from restore.images.colour import colour_space
from restore.images.decoding import STRIP_PIXELS
from restore.images.encoding import metadata_for, space_for, strip_samples
from restore.images.formats import FORMATS, format_of
from restore.images.limits import LIBRARY_LIMITS
from restore.images.picture import Picture
from restore.images.raster import CHANNELS, Floats, Raster, Samples
from restore.images.signature import sniff

#: What is read so; other formats' decoders need the whole picture.
READ = ("png", "jpeg", "tiff")


class PictureStream:
    """An opened file, its header read.

    Attributes:
        picture: its facts; `picture.image` has a shape but no values (it lies on torch's "meta" device), and there are
            no samples.
        readable: whether the format is one that is read in strips; without that there is no `picture`.
        obstacle: why its rows cannot be restored as they come; None when they can.
    """

    def __init__(self, path: Path) -> None:
        self._name = str(path)
        self._data: Any
        with path.open("rb") as file:
            head = file.read(1 << 16)
            self._kind = sniff(head, self._name)
            # A TIFF file's directories may lie anywhere; the others are read where they lie.
            whole = self._kind not in ("png", "jpeg")
            # A map is read like bytes, where it lies.
            self._data = head + file.read() if whole else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        if whole:
            self._kind = sniff(self._data, self._name)
        self.obstacle: str | None = None
        self.readable = self._kind in READ
        if not self.readable:
            self.obstacle = f"{self._kind.upper()} files are not decoded row by row"
            return
        raster = self._header()
        self._count = CHANNELS[raster.space]
        self.picture = _facts(raster, self._kind, self._name, *self._size)
        if raster.orientation not in (0, 1):
            self.obstacle = "the picture is stored turned or mirrored"
        elif raster.samples.dtype.kind == "f":
            self.obstacle = "it holds floating-point samples"

    def close(self) -> None:
        """Let go of the file."""
        if isinstance(self._data, mmap.mmap):
            # The decoder may still hold on to it; it is unmapped with the last one then.
            with suppress(BufferError):
                self._data.close()
        self._data = b""

    def strips(self) -> Iterator[tuple[Samples, Samples | None]]:
        """(samples [h, W, C], alpha [h, W] or None), decoded from the top each time this is called.

        Raises:
            UndecodableImageError: damaged; what came before was sound.
        """
        with codec.naming_damage(self._kind, self._name):
            image, *_ = codec.open_checked(self._data, self._kind, LIBRARY_LIMITS, self._name)
            for strip in codec.strips(image, STRIP_PIXELS):
                alpha = strip[..., self._count] if image.bands > self._count else None
                yield strip[..., : self._count], alpha

    def core(self, samples: Samples) -> Tensor:
        """[h, W, C] of the file -> [1, 3, h, W] float32, sRGB in [-1, 1]."""
        rgb = self.picture.colours.decode(samples)
        core = rgb.transpose(2, 0, 1) * np.float32(2.0)
        core -= np.float32(1.0)
        return torch.from_numpy(np.ascontiguousarray(core)).unsqueeze(0)

    def _header(self) -> Raster:
        with codec.naming_damage(self._kind, self._name):
            image, data, xmp, frames = codec.open_checked(self._data, self._kind, LIBRARY_LIMITS, self._name)
            self._size = (image.height, image.width)
            row = next(codec.strips(image, 1))[:0]
            return codec.described(image, data, self._kind, xmp, frames, row)


def _facts(raster: Raster, kind: str, name: str, height: int, width: int) -> Picture:
    colours, icc, trouble = colour_space(raster.space, raster.icc)
    warnings = [f"{name}: {trouble}"] if trouble else []
    if raster.frames > 1:
        warnings.append(f"{name}: holds {raster.frames} frames; the first is restored")
    return Picture(
        image=torch.empty(1, 3, height, width, device="meta"),
        space=raster.space,
        depth=16 if raster.samples.dtype == np.uint16 else 8,
        samples=None,
        alpha=raster.alpha,
        icc=icc,
        exif=raster.exif,
        xmp=raster.xmp,
        iptc=raster.iptc,
        dpi=raster.dpi,
        format=kind,
        name=name,
        warnings=tuple(warnings),
        colours=colours,
    )


def obstacle_to_writing(picture: Picture, target: Path) -> str | None:
    """Why a picture's rows cannot be written to a file as they come; None when they can.

    Raises:
        ParameterError: an unknown suffix.
    """
    kind = FORMATS[format_of(target)]
    name = kind.name.upper()
    if kind.name not in codec.STREAMED:
        return f"{name} files are not encoded row by row"
    if space_for(picture, kind, []) is not picture:
        return f"{name} cannot hold its colour space"
    if (picture.depth == 16 and 16 not in kind.bits) or (picture.alpha is not None and not kind.alpha):
        return f"{name} cannot hold its depth or transparency"
    if max(picture.width, picture.height) > kind.max_side:
        return f"{name} cannot hold so large a picture"
    if kind.name == "tiff" and picture.exif:
        return "EXIF is put into a TIFF file at its end"
    return None


class RowWriter:
    """Collects the rows of a result in a file beside the target, and encodes them when all are there.

    Args:
        picture: facts of the source, see `PictureStream`.
        target: what `obstacle_to_writing` finds nothing against.
        keep_gps: keep the place in the metadata.
    """

    def __init__(self, picture: Picture, target: Path, *, keep_gps: bool = False) -> None:
        self._picture, self._keep_gps = picture, keep_gps
        self._target = Path(os.path.realpath(target))
        self._name = str(target)
        self._beside = self._target.with_name(f".{self._target.name[:100]}.{secrets.token_hex(6)}")
        self._file: IO[bytes] | None = None

    def __enter__(self) -> RowWriter:
        with self._naming_trouble():
            self._file = self._part("rows").open("xb")
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
        for suffix in ("rows", FORMATS[format_of(self._target)].name, "part"):
            self._part(suffix).unlink(missing_ok=True)

    def add(self, restored: Tensor, core: Tensor, samples: Samples, alpha: Samples | None) -> None:
        """The next rows: restored and the core's own [1, 3, h, W] in [-1, 1], the file's [h, W, C] and [h, W]."""
        assert self._file is not None
        strip = strip_samples(self._picture, _unit(restored), (_unit(core), samples))
        whole = strip if alpha is None else np.dstack([strip, alpha])
        with self._naming_trouble():
            self._file.write(np.ascontiguousarray(whole).data)

    def restart(self) -> None:
        """Forget all rows."""
        assert self._file is not None
        self._file.seek(0)
        self._file.truncate()

    def finish(self) -> list[str]:
        """Encode what was collected and put it in the target's place; warnings about what could not be kept.

        Raises:
            OutputError: it cannot be written; the target is as it was.
        """
        assert self._file is not None
        notes: list[str] = []
        kind = FORMATS[format_of(self._target)]
        picture = self._picture
        facts, packet, iptc = metadata_for(kind, picture, picture.width, picture.height, self._keep_gps, notes)
        dtype = np.uint16 if picture.depth == 16 else np.uint8
        raster = Raster(
            samples=np.empty((0, picture.width, CHANNELS[picture.space]), dtype),
            space=picture.space,
            alpha=None if picture.alpha is None else np.empty((0, picture.width), dtype),
            icc=picture.icc,
            xmp=packet,
            iptc=iptc,
            dpi=picture.dpi,
        )
        with self._naming_trouble():
            self._file.flush()
            encoded = self._part(kind.name)
            codec.write_rows(self._part("rows"), (picture.width, picture.height), raster, kind.name, encoded)
            # A TIFF file holds XMP already.
            extra = (facts, packet) if kind.name != "tiff" else (None, None)
            self._place(encoded, kind.name, *extra)
        return notes

    def _place(self, encoded: Path, kind: str, exif: bytes | None, xmp: bytes | None) -> None:
        """Copy the encoded file with its metadata put in, and let it take the target's place."""
        part = self._part("part")
        with encoded.open("rb") as source, part.open("xb") as file:
            # Both kinds of file take metadata near their beginning: in PNG after 33 bytes, in JPEG after the first
            # segment.
            head = source.read(1 << 10)
            if kind == "png":
                head = containers.png_with(head, exif, xmp)
            elif kind == "jpeg":
                head = containers.jpeg_with(head, exif, xmp)
            file.write(head)
            shutil.copyfileobj(source, file, 1 << 20)
            file.flush()
            os.fsync(file.fileno())
        if self._target.exists():
            shutil.copymode(self._target, part)
        os.replace(part, self._target)

    def _part(self, suffix: str) -> Path:
        return self._beside.with_name(f"{self._beside.name}.{suffix}")

    @contextmanager
    def _naming_trouble(self) -> Iterator[None]:
        try:
            yield
        except (OSError, codec.CodecError) as error:
            reason = getattr(error, "strerror", None) or str(error).strip().splitlines()[0][:120]
            raise OutputError(f"{self._name}: cannot be written ({reason}); the disk may be full") from error


def _unit(rows: Tensor) -> Floats:
    """[1, 3, h, W] in [-1, 1] as [h, W, 3] in [0, 1]."""
    strip = rows[0].detach().float().cpu().numpy()
    return np.ascontiguousarray((strip.transpose(1, 2, 0) + np.float32(1.0)) * np.float32(0.5))
