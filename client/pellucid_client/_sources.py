"""What may be given as a picture, a mask or a kernel, and how it becomes bytes."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Union

from pellucid_client._errors import InvalidInputError, MissingExtraError
from pellucid_client._png import encode_png

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from pellucid_client._models import Upload


@dataclass(frozen=True)
class ImageURL:
    """A picture that the server shall fetch itself; servers refuse that unless they were told to allow it.

    Attributes:
        url: http or https.
    """

    url: str


#: A file's path, its bytes, an open binary file, a PIL image, an array [H, W] or [H, W, C] of uint8 or uint16, an
#: `ImageURL`, or an `Upload`.
ImageSource = Union[
    str, "os.PathLike[str]", bytes, bytearray, memoryview, IO[bytes], "Image.Image", "NDArray[np.generic]", ImageURL,
    "Upload",
]  # fmt: skip
#: The same, for a mask: bright (more than half) where the picture is to be filled in.
MaskSource = ImageSource
#: A blur kernel: "gaussian:SIGMA", "defocus:RADIUS" or "motion:LENGTH:ANGLE" (pixels, degrees); rows of numbers or an
#: array with odd sides; a file that holds one (a picture, or .npy) by path or bytes.
KernelSource = Union[Sequence[Sequence[float]], "NDArray[np.generic]", str, "os.PathLike[str]", bytes]


@dataclass(frozen=True)
class FilePart:
    """Bytes with a name, as multipart/form-data wants them."""

    name: str
    data: bytes
    media_type: str


_KERNEL_FORMS = ("gaussian", "defocus", "motion")
_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"BM", "image/bmp"),
)


def media_type_of(data: bytes) -> str:
    """By the first bytes; the server looks for itself and does not rely on this."""
    for signature, kind in _SIGNATURES:
        if data.startswith(signature):
            return kind
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if data[4:8] == b"ftyp":
        return "image/avif" if data[8:12] in (b"avif", b"avis") else "image/heic"
    return "application/octet-stream"


def read_image(source: ImageSource, name: str = "image") -> FilePart:
    """The bytes of a picture. Reads files; call it off the event loop.

    Raises:
        InvalidInputError: nothing that can be sent.
        OSError: the file cannot be read.
        MissingExtraError: a PIL image without Pillow, an array without numpy (both rather hard to come by).
    """
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        if isinstance(source, str) and source.startswith(("http://", "https://")):
            raise InvalidInputError(
                f"{name}: {source!r} is a URL, not a file; ImageURL({source!r}) lets the server fetch it"
            )
        return _part(path.name, path.read_bytes(), str(source))
    if isinstance(source, bytes | bytearray | memoryview):
        return _part(name, bytes(source), name)
    if hasattr(source, "__array_interface__") and hasattr(source, "dtype"):
        return FilePart(f"{name}.png", encode_png(_array(source), name), "image/png")
    if hasattr(source, "getbands") and hasattr(source, "save"):
        return _from_pil(source, name)
    if hasattr(source, "read"):
        data = source.read()
        if not isinstance(data, bytes):
            raise InvalidInputError(f"{name} is a file opened as text: open it with mode 'rb'")
        return _part(os.path.basename(str(getattr(source, "name", name))), data, name)
    raise InvalidInputError(
        f"{name} is {type(source).__name__}; give a path, bytes, a binary file, a PIL image, an array, an ImageURL or "
        "an Upload"
    )


def read_kernel(source: KernelSource) -> str | list[list[float]]:
    """A kernel as the server takes it: its form in words, or rows; `.npy` and picture files are read.

    Raises:
        InvalidInputError: neither.
        OSError: the file cannot be read.
        MissingExtraError: a file without numpy (a picture: and Pillow) to read it.
    """
    values: Any = source
    if isinstance(source, str) and source.partition(":")[0] in _KERNEL_FORMS and not Path(source).exists():
        return source
    if isinstance(source, str | os.PathLike | bytes):
        values = _read_plane(source)
    rows = values.tolist() if hasattr(values, "tolist") else values
    try:
        kernel = [[float(value) for value in row] for row in rows]
    except (TypeError, ValueError) as error:
        raise InvalidInputError(
            "kernel: write gaussian:SIGMA, defocus:RADIUS or motion:LENGTH:ANGLE, or give rows of numbers"
        ) from error
    if not kernel or len({len(row) for row in kernel}) != 1:
        raise InvalidInputError("kernel: its rows must be of one length")
    return kernel


def kernel_part(source: KernelSource) -> FilePart:
    """A kernel as a part without a file name: a form's text, or JSON rows."""
    kernel = read_kernel(source)
    text = kernel if isinstance(kernel, str) else json.dumps(kernel)
    return FilePart("", text.encode(), "text/plain" if isinstance(kernel, str) else "application/json")


def _part(name: str, data: bytes, shown: str) -> FilePart:
    if not data:
        raise InvalidInputError(f"{shown} is empty: there is nothing to restore")
    return FilePart(name or "image", data, media_type_of(data))


def _array(source: Any) -> NDArray[np.generic]:
    try:
        import numpy as np
    except ImportError as error:
        raise MissingExtraError("numpy", "numpy") from error
    return np.asarray(source)


def _from_pil(image: Any, name: str) -> FilePart:
    """PNG, lossless, with the profile and EXIF that Pillow holds."""
    target = io.BytesIO()
    extra = {key: image.info[key] for key in ("icc_profile", "exif") if image.info.get(key)}
    try:
        image.save(target, format="PNG", compress_level=1, **extra)
    except OSError as error:
        raise InvalidInputError(f"{name}: mode {image.mode} has no PNG; convert it first, to RGB say") from error
    return FilePart(f"{name}.png", target.getvalue(), "image/png")


def _read_plane(source: str | os.PathLike[str] | bytes) -> Any:
    try:
        import numpy as np
    except ImportError as error:
        raise MissingExtraError("numpy", "numpy") from error
    data = source if isinstance(source, bytes) else Path(source).read_bytes()
    if data.startswith(b"\x93NUMPY"):
        return np.load(io.BytesIO(data), allow_pickle=False)
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtraError("Pillow", "pillow") from error
    with Image.open(io.BytesIO(data)) as image:
        plane = np.asarray(image, dtype=np.float64)
    return plane.mean(axis=2) if plane.ndim == 3 else plane
