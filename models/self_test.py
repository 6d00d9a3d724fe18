"""Does a network denoise? A numerical self-test on photographs, and the prior's error at each noise level."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from models.error_table import measure_error_table
from models.errors import SelfTestError
from restore.prior.protocol import Denoiser, ErrorTable, PriorInfo

#: Three photographs under CC0 that come with the package.
PHOTOGRAPHS = Path(__file__).parent / "registry" / "photographs"
#: Noise levels on the 0-255 scale at which a prior must be better than nothing.
LEVELS = (10, 25, 50, 100)
#: Of the error table that `models add` measures. Log v is almost straight in log sigma; 16 take twice as long.
TABLE_LEVELS = 8
#: Beyond this the estimate is a blank picture, whatever the network.
LARGEST_SIGMA = 10.0
SIDE = 256


@dataclass(frozen=True)
class SelfTest:
    """What was measured.

    Attributes:
        gains: noise level on the 0-255 scale -> decibels by which the estimate is nearer to the photograph than the
            noisy photograph itself.
    """

    gains: dict[int, float]

    @property
    def passed(self) -> bool:
        """Whether it beats the identity at every level."""
        return bool(self.gains) and all(math.isfinite(gain) and gain > 0 for gain in self.gains.values())

    def check(self, name: str) -> None:
        """Refuse what does not denoise.

        Raises:
            SelfTestError: with the measurements.
        """
        if not self.passed:
            said = ", ".join(f"{gain:+.1f} dB at {level}" for level, gain in self.gains.items()) or "nothing measured"
            raise SelfTestError(
                f"{name} does not denoise: against the noisy photograph itself {said} (noise, 0-255 scale); it is "
                "damaged, of another kind than was read off it, or of no photographs"
            )


def photographs(folder: Path = PHOTOGRAPHS) -> list[Tensor]:
    """Central squares [3, 256, 256] in [-1, 1] of the pictures in a folder, scaled down to that where larger.

    Raises:
        SelfTestError: no picture in it.
    """
    found = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        try:
            with Image.open(path) as picture:
                rgb = picture.convert("RGB")
        except (UnidentifiedImageError, OSError):
            continue
        side = min(rgb.size)
        left, top = (rgb.width - side) // 2, (rgb.height - side) // 2
        found.append(_tensor(rgb.resize((SIDE, SIDE), Image.Resampling.LANCZOS, (left, top, left + side, top + side))))
    if not found:
        raise SelfTestError(f"there is no picture in {folder} to test a prior with")
    return found


def fitting(pictures: Sequence[Tensor], info: PriorInfo) -> list[Tensor]:
    """The same pictures at the size that a prior of small pictures knows."""
    native = info.native_size
    if native is None or native >= SIDE:
        return list(pictures)
    return [
        torch.nn.functional.interpolate(p[None], (native, native), mode="bicubic", antialias=True)[0].clamp(-1, 1)
        for p in pictures
    ]


def tested_levels(info: PriorInfo) -> tuple[int, ...]:
    """Those of `LEVELS` that a prior was trained on."""
    return tuple(level for level in LEVELS if info.sigma_min <= level / 127.5 <= info.sigma_max)


@torch.no_grad()
def self_test(denoiser: Denoiser, pictures: Sequence[Tensor], info: PriorInfo, seed: int = 0) -> SelfTest:
    """How much nearer a prior's estimates are to photographs than noisy ones are.

    Args:
        denoiser: the prior, for pictures of any size.
        pictures: clean ones, each [3, H, W] in [-1, 1].
        info: its facts; levels that it was not trained on are left out.
        seed: of the noise.
    """
    gains = {}
    generator = torch.Generator().manual_seed(seed)
    for level in tested_levels(info):
        sigma = level / 127.5
        before = after = 0.0
        for picture in pictures:
            noise = torch.randn(picture.shape, generator=generator)
            noisy = picture + sigma * noise
            estimate = denoiser(noisy[None], torch.tensor([sigma], dtype=torch.float32))[0]
            before += float((noisy - picture).square().mean())
            after += float((estimate - picture).square().mean())
        gains[level] = round(10 * math.log10(before / after), 2) if after > 0 else math.inf
    return SelfTest(gains)


def table_sigmas(info: PriorInfo, levels: int = TABLE_LEVELS) -> tuple[float, ...]:
    """Noise levels of a prior's error table, equidistant in log sigma over the range that it knows."""
    low, high = max(info.sigma_min, 0.005), min(info.sigma_max, LARGEST_SIGMA)
    return tuple(float(f"{sigma:.6g}") for sigma in np.geomspace(low, high, max(2, levels)))


def measure_table(
    denoiser: Denoiser, pictures: Sequence[Tensor], info: PriorInfo, levels: int = TABLE_LEVELS
) -> ErrorTable:
    """v(sigma) of a prior on photographs; see `models.error_table.measure_error_table`."""
    return measure_error_table(denoiser, pictures, table_sigmas(info, levels))


class Counted:
    """A denoiser that tells of its calls.

    Args:
        denoiser: answers.
        pictures: that it will be tested and measured on.
        levels: of its error table.
        on_call: told, before every call, how many were made and how many there will be.
    """

    def __init__(
        self, denoiser: Denoiser, pictures: Sequence[Tensor], levels: int, on_call: Callable[[int, int], None]
    ) -> None:
        self.info = denoiser.info
        self._denoiser, self._on_call = denoiser, on_call
        self.done, self.total = 0, (len(tested_levels(denoiser.info)) + max(2, levels)) * len(pictures)

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Denoise."""
        self._on_call(self.done, self.total)
        self.done += 1
        return self._denoiser(x, sigma)


def _tensor(picture: Image.Image) -> Tensor:
    values = torch.from_numpy(np.asarray(picture, dtype=np.uint8).copy())
    return values.permute(2, 0, 1).float() / 127.5 - 1.0
