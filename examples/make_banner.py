"""Put the three example photographs beside what `make demo` made of them: the README's picture.

python examples/make_banner.py build/demo docs/before-after.jpg
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

HERE = Path(__file__).parent
HEIGHT = 384


def half_and_half(before: Image.Image, after: Image.Image) -> Image.Image:
    """Left half as it was, right half restored, at the restored picture's pixels."""
    before = before.resize(after.size, Image.Resampling.NEAREST)
    joined = after.copy()
    middle = after.width // 2
    joined.paste(before.crop((0, 0, middle, after.height)), (0, 0))
    joined.paste((255, 255, 255), (middle - 1, 0, middle + 1, after.height))
    return joined


def main(restored: Path, out: Path) -> None:
    """Write the banner: three pictures of one height side by side."""
    pairs = [("noisy", "denoised"), ("small", "enlarged"), ("dark", "brightened")]
    tiles = []
    for given, made in pairs:
        with Image.open(HERE / f"{given}.png") as before, Image.open(restored / f"{made}.png") as after:
            tile = half_and_half(before.convert("RGB"), after.convert("RGB"))
        # Crop rather than shrink, so that the picture shows what the program made, pixel for pixel.
        top, left = (tile.height - HEIGHT) // 2, max(0, (tile.width - HEIGHT) // 2)
        tiles.append(tile.crop((left, top, left + HEIGHT, top + HEIGHT)))
    banner = Image.new("RGB", (len(tiles) * (HEIGHT + 8) - 8, HEIGHT), (255, 255, 255))
    for index, tile in enumerate(tiles):
        banner.paste(tile, (index * (HEIGHT + 8), 0))
    banner.save(out, quality=93, subsampling=0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
