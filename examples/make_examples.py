"""Make the three example photographs from freely licensed originals (CC0, examples/README.md).

    python examples/make_examples.py FOLDER_OF_ORIGINALS

noisy.png  Gaussian noise of standard deviation 25, rounded to 8 bit
small.png  reduced four times with MATLAB's antialiased bicubic
dark.png   underexposed by four stops in linear light, with photon and read noise, rounded to 8 bit
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from restore.degradations import Bicubic

HERE = Path(__file__).parent
Pixels = NDArray[np.float64]


def read(path: Path, box: tuple[int, int, int, int]) -> Pixels:
    """A crop (left, top, right, bottom) in [0, 1]."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB").crop(box), float) / 255.0


def write(pixels: Pixels, name: str) -> None:
    """Round to 8 bit and save beside this file."""
    Image.fromarray(np.clip(np.rint(pixels * 255.0), 0, 255).astype(np.uint8)).save(HERE / name, optimize=True)


def linear(srgb: Pixels) -> Pixels:
    """sRGB to linear light (IEC 61966-2-1)."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def gamma(light: Pixels) -> Pixels:
    """Linear light to sRGB (IEC 61966-2-1)."""
    light = np.clip(light, 0.0, 1.0)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def reduce(pixels: Pixels, scale: int) -> Pixels:
    """Antialiased bicubic reduction."""
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() * 2.0 - 1.0
    y = Bicubic(scale, tuple(x.shape[-2:])).forward(x)
    return ((y[0].permute(1, 2, 0).double().numpy()) + 1.0) / 2.0


def main(originals: Path) -> None:
    """Write the three pictures."""
    rng = np.random.default_rng(2026)
    bird = read(originals / "budgie_9ad2f8f9.jpg", (190, 70, 790, 470))
    write(bird + 25.0 / 255.0 * rng.standard_normal(bird.shape), "noisy.png")
    kitten = read(originals / "budgie_2bbd0bfe.jpg", (260, 160, 900, 640))
    write(reduce(kitten, 4), "small.png")
    spices = reduce(read(originals / "budgie_b60e6874.jpg", (0, 0, 1152, 768)), 2)
    photons = 3000.0  # full well of the simulated exposure
    light = rng.poisson(linear(np.clip(spices, 0, 1)) / 16.0 * photons) / photons
    light += 0.0008 * rng.standard_normal(light.shape)
    write(gamma(light), "dark.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
