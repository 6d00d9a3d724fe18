"""EXIF: reset the orientation, take out the place, drop the stale thumbnail, and change nothing else.

The block is edited in place, so that every other byte stays where it is: maker notes hold offsets into it. Layout:
TIFF 6.0, section 2; tags: EXIF 2.32, 4.6.
"""

from __future__ import annotations

import struct

_ORIENTATION, _EXIF_IFD, _GPS_IFD = 0x0112, 0x8769, 0x8825
_WIDTH, _HEIGHT = 0xA002, 0xA003
_THUMBNAIL_OFFSET, _THUMBNAIL_LENGTH = 0x0201, 0x0202
_TYPE_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}


class ExifError(ValueError):
    """The block cannot be read, so nothing can be promised about it."""


def orientation(exif: bytes) -> int:
    """The orientation in an EXIF block (without the "Exif" prefix), 1 when it says nothing."""
    try:
        block = _Block(exif)
        for at in block.entries(block.first):
            if block.tag(at) == _ORIENTATION:
                return block.number(at)
    except (ExifError, struct.error):
        pass
    return 1


def cleaned(exif: bytes, width: int, height: int, keep_gps: bool) -> bytes:
    """The block for a restored, upright picture.

    The orientation becomes 1, the pixel dimensions those of the result, the thumbnail (it shows the picture before)
    goes, and the GPS directory goes unless `keep_gps`; both are overwritten with zeros, not only unlinked.

    Raises:
        ExifError: the block is malformed.
    """
    try:
        block = _Block(exif)
        if not keep_gps:
            block.remove(block.first, _GPS_IFD, wipe_directory=True)
        for at in block.entries(block.first):
            tag = block.tag(at)
            if tag == _ORIENTATION:
                block.set_number(at, 1)
            elif tag == _EXIF_IFD:
                directory = block.number(at)
                if not keep_gps:
                    block.remove(directory, _GPS_IFD, wipe_directory=True)
                for inner in block.entries(directory):
                    if block.tag(inner) in (_WIDTH, _HEIGHT):
                        block.set_number(inner, width if block.tag(inner) == _WIDTH else height)
        block.drop_thumbnail()
    except struct.error as error:
        raise ExifError("an offset points outside the block") from error
    return bytes(block.data)


class _Block:
    """A TIFF structure under edit."""

    def __init__(self, data: bytes) -> None:
        self.data = bytearray(data)
        if data[:4] not in (b"II*\0", b"MM\0*"):
            raise ExifError("not an EXIF block")
        self.order = "<" if data[:2] == b"II" else ">"
        self.first = self._get("I", 4)

    def entries(self, directory: int) -> list[int]:
        """Positions of a directory's 12-byte entries."""
        count = self._get("H", directory)
        if directory < 8 or directory + 2 + 12 * count > len(self.data):
            raise ExifError("a directory lies outside the block")
        return [directory + 2 + 12 * i for i in range(count)]

    def tag(self, entry: int) -> int:
        return self._get("H", entry)

    def number(self, entry: int) -> int:
        return self._get("H" if self._get("H", entry + 2) == 3 else "I", entry + 8)

    def set_number(self, entry: int, value: int) -> None:
        short = self._get("H", entry + 2) == 3
        struct.pack_into(
            self.order + ("H" if short else "I"), self.data, entry + 8, min(value, 65535) if short else value
        )

    def remove(self, directory: int, tag: int, wipe_directory: bool) -> None:
        """Remove every entry with `tag`, and the directory it points to."""
        for at in reversed(self.entries(directory)):
            if self.tag(at) != tag:
                continue
            if wipe_directory:
                self._wipe(self.number(at))
            end = directory + 2 + 12 * self._get("H", directory) + 4
            rest = self.data[at + 12 : end]
            self.data[at:end] = (rest + bytes(12))[: end - at]
            struct.pack_into(self.order + "H", self.data, directory, self._get("H", directory) - 1)

    def drop_thumbnail(self) -> None:
        """Unlink the directory after the first and wipe it."""
        link = self.first + 2 + 12 * len(self.entries(self.first))
        if link + 4 > len(self.data):
            return
        second = self._get("I", link)
        if not second:
            return
        struct.pack_into(self.order + "I", self.data, link, 0)
        numbers = {self.tag(at): self.number(at) for at in self.entries(second)}
        start, length = numbers.get(_THUMBNAIL_OFFSET, 0), numbers.get(_THUMBNAIL_LENGTH, 0)
        self._zero(start, length)
        self._wipe(second)

    def _wipe(self, directory: int) -> None:
        """Overwrite a directory and the values it points to."""
        entries = self.entries(directory)
        for at in entries:
            size = _TYPE_SIZES.get(self._get("H", at + 2), 1) * self._get("I", at + 4)
            if size > 4:
                self._zero(self._get("I", at + 8), size)
        self._zero(directory, 2 + 12 * len(entries) + 4)

    def _zero(self, start: int, length: int) -> None:
        """Zero a range, but never the header, the first directory or what lies outside."""
        end = min(start + length, len(self.data))
        safe = self.first + 2 + 12 * self._get("H", self.first) + 4
        if start >= end:
            return
        if start < 8 or (start < safe and end > self.first):
            raise ExifError("a directory points at another")
        self.data[start:end] = bytes(end - start)

    def _get(self, kind: str, at: int) -> int:
        return int(struct.unpack_from(self.order + kind, self.data, at)[0])
