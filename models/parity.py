"""Does one denoiser answer as another one does? Measured on pictures, at several noise levels and sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from models.dead_leaves import dead_leaves
from restore.prior.protocol import Denoiser, PriorInfo

#: Noise levels of a check on the 0-255 scale: those that restoration uses, and one far above.
LEVELS = (2.0, 5.0, 15.0, 25.0, 50.0, 100.0, 400.0)
#: (pictures, height, width) of a check, in units of the prior's `multiple_of`: square, oblong, a batch, odd multiples.
SHAPES = ((1, 16, 16), (2, 9, 14), (3, 7, 5))


@dataclass(frozen=True)
class Tolerance:
    """How far a denoiser may be from the reference.

    Attributes:
        rms: root mean square of the difference, 0-255 scale.
        psnr: how much PSNR against the clean picture may be lost, in dB.
    """

    rms: float
    psnr: float


#: By precision. float32 differs by the order of sums. The root mean square of a reduced precision says little, since
#: most of it hides below the prior's own error; what counts is the PSNR lost. bfloat16 lost up to 0.03 dB at a level
#: on synthetic pictures and photographs, whoever computed it.
TOLERANCES = {
    "fp32": Tolerance(0.01, 0.001),
    "fp16": Tolerance(1.0, 0.02),
    "bf16": Tolerance(3.0, 0.05),
    "int8": Tolerance(4.0, 0.05),
}


@dataclass(frozen=True)
class Deviation:
    """The difference at one noise level and size.

    Attributes:
        sigma: noise level, 0-255 scale.
        shape: of the pictures, (N, C, H, W).
        max_error: largest difference, 0-255 scale.
        rms_error: its root mean square.
        psnr_reference: PSNR of the reference against the clean pictures, in dB.
        psnr_change: how much more the other one has; negative is a loss.
    """

    sigma: float
    shape: tuple[int, ...]
    max_error: float
    rms_error: float
    psnr_reference: float
    psnr_change: float

    def within(self, tolerance: Tolerance) -> bool:
        """Whether it may be tolerated; NaN may not."""
        return self.rms_error <= tolerance.rms and self.psnr_change >= -tolerance.psnr


@dataclass(frozen=True)
class Parity:
    """All differences of a comparison."""

    deviations: tuple[Deviation, ...]

    def failures(self, tolerance: Tolerance) -> tuple[Deviation, ...]:
        """Those beyond a tolerance."""
        return tuple(found for found in self.deviations if not found.within(tolerance))

    @property
    def psnr_lost(self) -> float:
        """The most PSNR lost at any level and size, in dB; negative where something was gained everywhere."""
        return max((-found.psnr_change for found in self.deviations), default=math.nan)

    @property
    def rms_error(self) -> float:
        """The largest root mean square of a difference, 0-255 scale."""
        return max((found.rms_error for found in self.deviations), default=math.nan)

    def by_level(self) -> dict[float, float]:
        """Noise level -> most PSNR lost, in dB."""
        lost: dict[float, float] = {}
        for found in self.deviations:
            lost[found.sigma] = max(lost.get(found.sigma, -math.inf), -found.psnr_change)
        return lost

    def record(self) -> list[dict[str, Any]]:
        """As JSON."""
        return [{key: _rounded(value) for key, value in asdict(found).items()} for found in self.deviations]


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.5g}") if math.isfinite(value) else None
    return list(value) if isinstance(value, tuple) else value


def sample_batches(info: PriorInfo) -> list[Tensor]:
    """Clean synthetic pictures of the sizes that a prior takes."""
    return list(_batches(max(info.multiple_of, 8), info.native_size))


@lru_cache(maxsize=8)
def _batches(unit: int, native_size: int | None) -> tuple[Tensor, ...]:
    if native_size is not None:
        return (dead_leaves(2, native_size, native_size),)
    return tuple(dead_leaves(n, high * unit, wide * unit, seed=seed) for seed, (n, high, wide) in enumerate(SHAPES))


@torch.no_grad()
def compare(
    reference: Denoiser, other: Denoiser, batches: Sequence[Tensor] = (), levels: Sequence[float] = LEVELS
) -> Parity:
    """Let two denoisers answer the same calls.

    Args:
        reference: what is taken for right.
        other: what is compared with it.
        batches: clean pictures, each [N, 3, H, W] float32 in [-1, 1] of a size that the prior takes; synthetic ones
            when none are given.
        levels: noise levels on the 0-255 scale; those the prior was not trained for are left out.
    """
    info = reference.info
    chosen = [level for level in levels if info.sigma_min <= level / 127.5 <= info.sigma_max] or [levels[-1]]
    found = []
    for index, clean in enumerate(batches or sample_batches(info)):
        noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(index))
        for level in chosen:
            sigma = torch.full((clean.shape[0],), level / 127.5)
            noisy = clean + (level / 127.5) * noise
            found.append(_deviation(reference(noisy, sigma), other(noisy, sigma), clean, level))
    return Parity(tuple(found))


def _deviation(expected: Tensor, answer: Tensor, clean: Tensor, level: float) -> Deviation:
    error = (answer - expected).double() * 127.5
    reference = _psnr(expected, clean)
    return Deviation(
        level,
        tuple(clean.shape),
        error.abs().max().item(),
        error.square().mean().sqrt().item(),
        reference,
        _psnr(answer, clean) - reference,
    )


def _psnr(estimate: Tensor, clean: Tensor) -> float:
    """In dB for a peak of 2, the length of [-1, 1]; NaN stays NaN."""
    mse = (estimate - clean).double().square().mean().item()
    if math.isnan(mse):
        return math.nan
    return 10.0 * math.log10(4.0 / max(mse, 1e-12))
