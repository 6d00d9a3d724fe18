"""What the HTTP layer asks of the intake: is this a picture we take, how large is it, what does this URL hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Examined:
    """A picture that decoded.

    Attributes:
        format: "png", "jpeg", "webp", "tiff", "avif" or "heic", from the bytes themselves.
        width, height: in pixels, upright.
        depth: bits of a sample; 32 for floats.
        grey, alpha: whether there is no colour; whether there is transparency.
    """

    format: str
    width: int
    height: int
    depth: int = 8
    grey: bool = False
    alpha: bool = False


class Intake(Protocol):
    """Examines what strangers send. All methods belong to one event loop."""

    async def start(self) -> None: ...

    async def examine(self, data: bytes, name: str) -> Examined:
        """Sniff and decode on trial, in a process of its own with limits on memory and time.

        Args:
            data: the encoded picture.
            name: of the field ("image", "mask", "kernel"), for the message.

        Raises:
            Problem: UNSUPPORTED_MEDIA_TYPE (by magic bytes), TOO_LARGE, UNDECODABLE_IMAGE, IMAGE_SIZE, IMAGE_VALUES,
                TOO_MANY_FRAMES.
        """
        ...

    async def fetch(self, url: str) -> bytes:
        """What a URL holds, its address checked when connecting.

        Raises:
            Problem: URL_REFUSED, URL_UNREACHABLE, TOO_LARGE.
        """
        ...

    async def stop(self) -> None: ...
