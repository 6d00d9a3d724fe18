"""Pictures degraded as the world does it, for tests of robustness and for training: blur, resizing, noise and JPEG,
twice over, with random strengths (Wang, Xie, Dong, Shan 2021, "Real-ESRGAN: training real-world blind super-resolution
with pure synthetic data", section 3). The kernels and noises are BasicSR's; the ranges are the paper's.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from restore.errors import ImageSizeError, ImageValueError, ParameterError
from restore.evaluate.basicsr import basicsr_module

Pixels = NDArray[np.float32]
"""[H, W, 3] in [0, 1], blue first."""

#: Names and probabilities of the kernels, supplementary material of the paper.
KERNELS = ("iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso")
KERNEL_SHARES = (0.45, 0.25, 0.12, 0.03, 0.12, 0.03)
KERNEL_SIZES = tuple(range(7, 22, 2))
SINC_SHARE = 0.1
INTERPOLATIONS = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC)

#: Below this the kernels reach over the whole picture.
SMALLEST = 32


@dataclass(frozen=True)
class Stage:
    """Ranges of one of the two passes.

    Attributes:
        blur_share: how often there is a blur at all.
        blur: standard deviation of the kernels, pixels.
        generalized: exponent of the generalised Gaussian.
        plateau: exponent of the plateau-shaped kernels.
        resize: factor; `smaller`, `larger` and the rest are the shares of shrinking, growing and keeping.
        gaussian: standard deviation of the noise, 0-255.
        poisson: its scale.
        gaussian_share: of Gaussian against Poisson noise.
        grey_share: how often all channels get the same noise.
        quality: of the JPEG.
    """

    blur_share: float
    blur: tuple[float, float]
    generalized: tuple[float, float]
    plateau: tuple[float, float]
    resize: tuple[float, float]
    smaller: float
    larger: float
    gaussian: tuple[float, float]
    poisson: tuple[float, float]
    gaussian_share: float = 0.5
    grey_share: float = 0.4
    quality: tuple[float, float] = (30.0, 95.0)


#: The paper's two passes.
STAGES = (
    Stage(1.0, (0.2, 3.0), (0.5, 4.0), (1.0, 2.0), (0.15, 1.5), 0.7, 0.2, (1.0, 30.0), (0.05, 3.0)),
    Stage(0.8, (0.2, 1.5), (0.5, 4.0), (1.0, 2.0), (0.3, 1.2), 0.4, 0.3, (1.0, 25.0), (0.05, 2.5)),
)


def hard_input(x: Tensor, seed: int, *, scale: int = 1) -> Tensor:
    """A degraded picture, the same for the same seed.

    Args:
        x: [1, 3, H, W] in [-1, 1].
        seed: of every random number; the process's own generators are left as they were.
        scale: the result is this many times smaller.

    Returns:
        [1, 3, H // scale, W // scale] float32 in [-1, 1], on the grid of 8-bit values.

    Raises:
        RuntimeUnavailableError: BasicSR, of the extra `eval`, is not installed.
        ImageValueError, ImageSizeError: not one RGB picture of at least 32 x 32.
        ParameterError: a scale below 1.
    """
    if x.ndim != 4 or x.shape[:2] != (1, 3):
        raise ImageValueError(f"a picture [1, 3, H, W] is taken, not {list(x.shape)}")
    if min(x.shape[2:]) < SMALLEST:
        raise ImageSizeError(f"a picture of at least {SMALLEST}x{SMALLEST} is taken, not {list(x.shape[2:])}")
    if scale < 1:
        raise ParameterError(f"the scale must be 1 or more, not {scale}")
    library = basicsr_module("data.degradations")
    # OpenCV, which BasicSR uses, has blue first.
    pixels = ((x[0].flip(0).permute(1, 2, 0).float().clamp(-1.0, 1.0) + 1.0) / 2.0).cpu().contiguous().numpy()
    height, width = pixels.shape[0] // scale, pixels.shape[1] // scale
    with _seeded(seed):
        first, second = STAGES
        pixels = _jpeg(_noise(library, _resize(_blur(library, pixels, first), first), first), first)
        pixels = _noise(library, _resize(_blur(library, pixels, second), second), second)
        pixels = _finish(library, pixels, second, (width, height))
    rounded = np.rint(pixels.clip(0.0, 1.0) * 255.0).astype(np.float32) / 127.5 - 1.0
    return torch.from_numpy(rounded).permute(2, 0, 1).flip(0)[None].contiguous()


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """BasicSR draws from the generators of the process."""
    python, arrays = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    try:
        # The centre of its low-pass filter is 0 / 0 before it is set.
        with np.errstate(divide="ignore", invalid="ignore"):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(arrays)


def _filter(pixels: Pixels, kernel: Any) -> Pixels:
    return np.asarray(cv2.filter2D(pixels, -1, kernel, borderType=cv2.BORDER_REFLECT_101), np.float32)


def _sinc(library: Any) -> Any:
    """A low-pass filter with ringing (section 3.3 of the paper)."""
    size = random.choice(KERNEL_SIZES)
    least = np.pi / 3.0 if size < 13 else np.pi / 5.0
    return library.circular_lowpass_kernel(np.random.uniform(least, np.pi), size)


def _blur(library: Any, pixels: Pixels, stage: Stage) -> Pixels:
    if random.random() >= stage.blur_share:
        return pixels
    if random.random() < SINC_SHARE:
        return _filter(pixels, _sinc(library))
    kernel = library.random_mixed_kernels(
        KERNELS, KERNEL_SHARES, random.choice(KERNEL_SIZES), stage.blur, stage.blur, (-math.pi, math.pi),
        stage.generalized, stage.plateau,
    )  # fmt: skip
    return _filter(pixels, kernel)


def _resize(pixels: Pixels, stage: Stage) -> Pixels:
    chosen = random.random()
    if chosen < stage.smaller:
        factor = random.uniform(stage.resize[0], 1.0)
    elif chosen < stage.smaller + stage.larger:
        factor = random.uniform(1.0, stage.resize[1])
    else:
        return pixels
    size = tuple(max(round(side * factor), 8) for side in (pixels.shape[1], pixels.shape[0]))
    return _to_size(pixels, (size[0], size[1]))


def _to_size(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    return np.asarray(cv2.resize(pixels, size, interpolation=random.choice(INTERPOLATIONS)), np.float32)


def _noise(library: Any, pixels: Pixels, stage: Stage) -> Pixels:
    if random.random() < stage.gaussian_share:
        noisy = library.random_add_gaussian_noise(pixels, stage.gaussian, stage.grey_share, clip=True)
    else:
        noisy = library.random_add_poisson_noise(pixels.clip(0.0, 1.0), stage.poisson, stage.grey_share, clip=True)
    return np.asarray(noisy, np.float32)


def _jpeg(pixels: Pixels, stage: Stage) -> Pixels:
    # Not BasicSR's function, which hands floats to an encoder that complains about them.
    quality = [cv2.IMWRITE_JPEG_QUALITY, random.randint(*map(int, stage.quality))]
    _, file = cv2.imencode(".jpg", np.rint(pixels.clip(0.0, 1.0) * 255.0).astype(np.uint8), quality)
    return np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR), np.float32) / np.float32(255.0)


def _finish(library: Any, pixels: Pixels, stage: Stage, size: tuple[int, int]) -> Pixels:
    """To the final size, with a last ringing filter and JPEG in either order (section 3.3 of the paper)."""
    kernel = _sinc(library) if random.random() < 0.8 else None
    before = random.random() < 0.5
    if not before:
        pixels = _jpeg(pixels, stage)
    pixels = _to_size(pixels, size)
    if kernel is not None:
        pixels = _filter(pixels, kernel)
    return _jpeg(pixels, stage) if before else pixels
