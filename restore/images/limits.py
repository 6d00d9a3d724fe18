"""How large a picture may be before anyone spends memory on it."""

from __future__ import annotations

from dataclasses import dataclass

from restore.errors import ImageSizeError


@dataclass(frozen=True)
class Limits:
    """Upper bounds, checked on the header before any pixel is decoded. The defaults are a public service's.

    Attributes:
        max_pixels: width times height of what comes in.
        max_output_pixels: width times height of what goes out (super-resolution multiplies).
        max_side: the longer side of either, in pixels.
        max_bytes: length of the encoded file.
    """

    max_pixels: int = 50_000_000
    max_output_pixels: int = 200_000_000
    max_side: int = 16_384
    max_bytes: int = 32 * 2**20

    def check_bytes(self, count: int, name: str) -> None:
        """Raise `ImageSizeError` when a file of `count` bytes is too long."""
        if count > self.max_bytes:
            raise ImageSizeError(f"{name}: {count:,} bytes; at most {self.max_bytes:,} are taken")

    def check_input(self, width: int, height: int, name: str) -> None:
        """Raise `ImageSizeError` when there is nothing to restore or too much of it."""
        if width < 1 or height < 1:
            raise ImageSizeError(f"{name}: holds no pixels ({width} x {height})")
        if width < 2 or height < 2:
            raise ImageSizeError(f"{name}: {width} x {height} pixels; at least 2 x 2 are needed")
        self._check(width, height, self.max_pixels, name)

    def check_output(self, width: int, height: int, name: str) -> None:
        """Raise `ImageSizeError` when the result would be too large; for use before any work is done."""
        self._check(width, height, self.max_output_pixels, f"{name}: the result")

    def _check(self, width: int, height: int, pixels: int, name: str) -> None:
        if max(width, height) > self.max_side:
            raise ImageSizeError(f"{name}: {width} x {height} pixels; at most {self.max_side:,} on a side are taken")
        if width * height > pixels:
            raise ImageSizeError(
                f"{name}: {width} x {height} = {width * height / 1e6:.1f} megapixels; "
                f"at most {pixels / 1e6:g} megapixels are taken"
            )


SERVICE_LIMITS = Limits()
"""For strangers' pictures."""

LIBRARY_LIMITS = Limits(
    max_pixels=200_000_000, max_output_pixels=1_000_000_000, max_side=65_535, max_bytes=2 * 2**30 - 1
)
"""For one's own pictures, on one's own machine."""
