"""A restored picture, and its uncertainty map."""

from __future__ import annotations

import io
import os
import secrets
import struct
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid_client._errors import InvalidInputError, MissingExtraError
from pellucid_client._models import Report
from pellucid_client._response import Response

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from pellucid_client._async_client import AsyncClient
    from pellucid_client._client import Client

SUFFIXES = {
    "png": (".png",),
    "jpeg": (".jpg", ".jpeg"),
    "webp": (".webp",),
    "tiff": (".tif", ".tiff"),
    "avif": (".avif",),
}  # fmt: skip
_BITS_PER_SAMPLE = 258


class EncodedImage:
    """A picture as the server encoded it.

    Attributes:
        response: the answer that it came in.
    """

    def __init__(self, response: Response) -> None:
        self.response = response

    @property
    def bytes(self) -> bytes:
        """The encoded file."""
        return self.response.content

    @property
    def media_type(self) -> str:
        """Such as "image/png"."""
        return self.response.media_type

    @property
    def format(self) -> str:
        """Such as "png"."""
        return self.media_type.rpartition("/")[2]

    def pil(self) -> Image.Image:
        """The picture for Pillow, which reduces 16-bit colour to 8 bits.

        Raises:
            MissingExtraError: Pillow is not installed.
        """
        try:
            from PIL import Image
        except ImportError as error:
            raise MissingExtraError("Pillow", "pillow") from error
        image = Image.open(io.BytesIO(self.bytes))
        image.load()
        return image

    def array(self) -> NDArray[np.generic]:
        """The picture as [H, W] or [H, W, C], uint8, or uint16 for 16-bit grey.

        Raises:
            MissingExtraError: numpy or Pillow is not installed.
            InvalidInputError: 16-bit colour, which Pillow would reduce to 8 bits: decode `bytes` with a library that
                keeps it (OpenCV, pyvips, imageio), or take `pil()` for the 8 bits.
        """
        try:
            import numpy as np
        except ImportError as error:
            raise MissingExtraError("numpy", "numpy") from error
        image = self.pil()
        if _is_deep_colour(self.bytes, image):
            raise InvalidInputError(
                "16-bit colour: Pillow reduces it to 8 bits; decode .bytes with OpenCV or pyvips, or take .pil()"
            )
        array = np.asarray(image)
        return array.astype(np.uint16) if array.dtype == np.int32 else array

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file as it came; an existing one is replaced only when the new one is complete.

        Raises:
            InvalidInputError: the suffix is another format's: ask for that one with `output_format`.
            OSError: it cannot be written.
        """
        suffix = Path(path).suffix.lower()
        known = SUFFIXES.get(self.format, (suffix,))
        if suffix not in known:
            wanted = next((name for name, suffixes in SUFFIXES.items() if suffix in suffixes), None)
            advice = f'ask for it with output_format="{wanted}"' if wanted else f"name it {known[0]}"
            raise InvalidInputError(f"{path}: the server sent {self.format.upper()}; {advice}")
        write_whole(Path(path), self.bytes)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.media_type}, {len(self.bytes)} bytes>"


class BaseRestoredImage(EncodedImage):
    """What a restored picture says about itself without asking the server again."""

    @property
    def job_id(self) -> str | None:
        """Of the job that made it."""
        return self.response.headers.get("pellucid-job")

    @property
    def seed(self) -> int | None:
        """Of every random number: the same seed gives the same picture."""
        value = self.response.headers.get("pellucid-seed", "")
        return int(value) if value.lstrip("-").isdigit() else None

    @property
    def model(self) -> str | None:
        """The prior that restored it, "name@sha256:..."."""
        return self.response.headers.get("pellucid-model")

    @property
    def degraded(self) -> str | None:
        """What changed how the work ran, such as "tile=256;reason=oom"; None when nothing did."""
        return self.response.headers.get("pellucid-degraded") or None

    @property
    def replayed(self) -> bool:
        """Whether an idempotency key found this picture restored already."""
        return self.response.headers.get("idempotent-replayed", "").lower() == "true"

    @property
    def timings(self) -> dict[str, float]:
        """Seconds by stage: "queue", "decode", "restore", "encode"."""
        return self.response.timings

    @property
    def request_id(self) -> str | None:
        """To quote when asking for help."""
        return self.response.request_id

    def _job(self) -> str:
        if self.job_id is None:
            raise InvalidInputError("the answer named no job (Pellucid-Job): was the header removed on the way?")
        return self.job_id


class RestoredImage(BaseRestoredImage):
    """A restored picture."""

    def __init__(self, response: Response, client: Client) -> None:
        super().__init__(response)
        self._client = client

    def report(self) -> Report:
        """How it came about: effective parameters, what was found, seed, number of calls, prior and digest."""
        return self._client.job(self._job()).report()

    def uncertainty(self) -> UncertaintyMap:
        """Where the posterior samples disagree; it takes `samples` of 2 or more.

        Raises:
            NotFoundError: there was only one sample.
        """
        return self._client.job(self._job()).uncertainty()


class AsyncRestoredImage(BaseRestoredImage):
    """A restored picture."""

    def __init__(self, response: Response, client: AsyncClient) -> None:
        super().__init__(response)
        self._client = client

    def report(self) -> Coroutine[Any, Any, Report]:
        """How it came about: effective parameters, what was found, seed, number of calls, prior and digest."""
        return self._client.job(self._job()).report()

    def uncertainty(self) -> Coroutine[Any, Any, UncertaintyMap]:
        """Where the posterior samples disagree; it takes `samples` of 2 or more.

        Raises:
            NotFoundError: there was only one sample.
        """
        return self._client.job(self._job()).uncertainty()


class UncertaintyMap(EncodedImage):
    """The standard deviation over the posterior samples, per pixel."""

    @property
    def scale(self) -> float:
        """What one level of the 16-bit PNG stands for, on the 0-255 scale; from its "Scale" chunk.

        Raises:
            InvalidInputError: there is none.
        """
        for kind, body in _png_chunks(self.bytes):
            if kind == b"tEXt" and body.startswith(b"Scale\0"):
                return float(body[6:])
        raise InvalidInputError("the map says no scale")

    def array(self) -> NDArray[np.generic]:
        """[H, W] float32, on the 0-255 scale.

        Raises:
            MissingExtraError: numpy or Pillow is not installed.
        """
        levels = super().array()
        import numpy as np

        return levels.astype(np.float32) * np.float32(self.scale)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it: `.png` as it came, `.npy` as the float32 array.

        Raises:
            InvalidInputError: another suffix.
            MissingExtraError: `.npy` without numpy and Pillow.
            OSError: it cannot be written.
        """
        if Path(path).suffix.lower() != ".npy":
            return super().save(path)
        values = self.array()
        import numpy as np

        target = io.BytesIO()
        np.save(target, values, allow_pickle=False)
        return write_whole(Path(path), target.getvalue())


def write_whole(path: Path, data: bytes) -> None:
    """A file that is either the old one or all of the new one."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _is_deep_colour(data: bytes, image: Image.Image) -> bool:
    """Whether a file holds 16-bit colour (or 16-bit grey with alpha)."""
    if data.startswith(b"\x89PNG") and len(data) > 25:
        return data[24] == 16 and data[25] != 0
    if image.format == "TIFF":
        bits = image.tag_v2.get(_BITS_PER_SAMPLE, (8,))  # type: ignore[attr-defined]
        return len(bits) > 1 and max(bits) > 8
    return False


def _png_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    chunks, place = [], 8
    while place + 8 <= len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        chunks.append((data[place + 4 : place + 8], data[place + 8 : place + 8 + length]))
        place += 12 + length
    return chunks
