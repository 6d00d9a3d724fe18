"""An array as a PNG file, 8 or 16 bits, with nothing but zlib: Pillow cannot write 16-bit colour."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Any

from pellucid_client._errors import InvalidInputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: PNG's colour types by the number of channels: grey, grey and alpha, RGB, RGBA.
_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
#: Speed over size: the file lives for one upload.
_COMPRESSION = 1


def encode_png(array: NDArray[np.generic], name: str) -> bytes:
    """A PNG of exactly these values.

    Args:
        array: [H, W] or [H, W, C] with C of 1 to 4 (grey, grey and alpha, RGB, RGBA), sRGB; uint8, uint16 or bool
            (0 and 255).
        name: of the argument, for messages.

    Raises:
        InvalidInputError: another type or shape. Floats are refused rather than guessed at: is 1.0 white, or nearly
            black?
    """
    import numpy as np

    values: NDArray[Any] = array.astype(np.uint8) * 255 if array.dtype == np.bool_ else array
    if values.dtype not in (np.uint8, np.uint16):
        raise InvalidInputError(f"{name} holds {array.dtype}; convert it to uint8 (0-255) or uint16 (0-65535)")
    if values.ndim == 2:
        values = values[:, :, None]
    if values.ndim != 3 or values.shape[2] not in _COLOUR_TYPES or 0 in values.shape:
        raise InvalidInputError(f"{name} has shape {array.shape}; [height, width] or [height, width, 1 to 4] is taken")
    height, width, channels = values.shape
    depth = values.dtype.itemsize
    rows = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder(">")).reshape(height, -1).view(np.uint8)
    # Each row begins with its filter: 0, none.
    data = np.concatenate([np.zeros((height, 1), np.uint8), rows], axis=1).tobytes()
    header = struct.pack(">IIBBBBB", width, height, depth * 8, _COLOUR_TYPES[channels], 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(data, _COMPRESSION)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, body) for kind, body in chunks)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
