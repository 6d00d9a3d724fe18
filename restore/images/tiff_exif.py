"""EXIF in TIFF files, which libvips neither reads nor writes.

In a TIFF the camera's facts are tags of the first directory, and EXIF and GPS are directories it points to (EXIF 2.32,
4.6.2). Reading gathers them into a block like that of a JPEG; writing appends them to a file and to its first
directory. Pillow packs and unpacks the directories.
"""

from __future__ import annotations

import io
import struct

from PIL import Image, TiffImagePlugin

_EXIF_IFD, _GPS_IFD = 0x8769, 0x8825
# ImageDescription, Make, Model, Software, DateTime, Artist, HostComputer, Copyright, and the XP* of Windows.
_DESCRIPTIVE = (0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x013C, 0x8298, *range(0x9C9B, 0x9CA0))


def read(data: bytes) -> bytes | None:
    """The EXIF block of a TIFF file, without a prefix; None when there is none or it cannot be read."""
    try:
        found = TiffImagePlugin.TiffImageFile(io.BytesIO(data)).getexif()
        exif = Image.Exif()
        for tag in _DESCRIPTIVE:
            if tag in found:
                exif[tag] = found[tag]
        for directory in (_EXIF_IFD, _GPS_IFD):
            if directory in found:
                exif.get_ifd(directory).update(found.get_ifd(directory))
        if not dict(exif) and not exif.get_ifd(_EXIF_IFD) and not exif.get_ifd(_GPS_IFD):
            return None
        return exif.tobytes().removeprefix(b"Exif\0\0")
    except Exception:  # Pillow raises nearly anything on a broken directory; the pixels do not depend on it.
        return None


def add(data: bytes, exif: bytes) -> bytes:
    """A classic TIFF file with an EXIF block's tags; its own tags win. Unreadable blocks are left out."""
    order = "<" if data[:2] == b"II" else ">"
    prefix = data[:2]
    try:
        block = Image.Exif()
        block.load(b"Exif\0\0" + exif)
        (start,) = struct.unpack_from(order + "I", data, 4)
        (count,) = struct.unpack_from(order + "H", data, start)
        entries = {}
        for i in range(count):
            entry = data[start + 2 + 12 * i : start + 14 + 12 * i]
            entries[struct.unpack_from(order + "H", entry)[0]] = entry
        out = io.BytesIO()
        out.write(data + b"\0" * (len(data) % 2))
        for tag in (_EXIF_IFD, _GPS_IFD):
            values = block.get_ifd(tag)
            if values:
                position = out.tell()
                out.write(_directory(values, prefix, position))
                out.write(b"\0" * (out.tell() % 2))
                entries[tag] = struct.pack(order + "HHII", tag, 4, 1, position)
        for tag in _DESCRIPTIVE:
            if tag in block and tag not in entries:
                entries[tag] = _text_entry(out, order, tag, block[tag])
    except Exception:  # as above: the picture is worth more than its EXIF
        return data
    position = out.tell()
    out.write(struct.pack(order + "H", len(entries)) + b"".join(entries[tag] for tag in sorted(entries)) + bytes(4))
    out.seek(4)
    out.write(struct.pack(order + "I", position))
    return out.getvalue()


def _directory(values: dict[int, object], prefix: bytes, position: int) -> bytes:
    directory = TiffImagePlugin.ImageFileDirectory_v2(prefix=prefix)
    for tag, value in values.items():
        directory[tag] = value
    return bytes(directory.tobytes(position))


def _text_entry(out: io.BytesIO, order: str, tag: int, value: object) -> bytes:
    """Write a text (or bytes) value, padded to an even length, and return its entry."""
    kind, text = (1, value) if isinstance(value, bytes) else (2, str(value).encode("utf-8") + b"\0")
    if len(text) <= 4:
        return struct.pack(order + "HHI", tag, kind, len(text)) + text.ljust(4, b"\0")
    position = out.tell()
    out.write(text + b"\0" * (len(text) % 2))
    return struct.pack(order + "HHII", tag, kind, len(text), position)
