"""User-level parameters: the same names and ranges in the library, on the command line and over REST."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from restore.errors import ParameterError

if TYPE_CHECKING:
    from torch import Tensor

SCALES = (2, 3, 4, 8)


@dataclass(frozen=True)
class Parameters:
    """What a user may say about a restoration; every task reads those it knows.

    Attributes:
        noise: standard deviation of the noise on the 0-255 scale, or "auto" to estimate it.
        scale: enlargement of super-resolution, one of `SCALES`.
        fidelity: 1 gives the least distortion (a posterior mean), 0 a full posterior sample; None means 1 for one
            picture and 0 when several samples are asked for.
        steps: denoiser calls; None leaves it to the task.
        samples: posterior samples drawn; with more than one their mean is returned and their spread is the
            uncertainty.
        strength: blend of the restored picture (1) with the given one (0).
        seed: of every random number.
        kernel: point spread function for deblurring, [k, k] with odd k, any positive sum.
        mask: for inpainting, [H, W], True (or non-zero) where the picture is to be filled in.
        quality: of the JPEG compression to undo, or "auto" to read it from the picture.
        exposure: brightening for low light, in stops, or "auto".
    """

    noise: float | Literal["auto"] = "auto"
    scale: int = 4
    fidelity: float | None = None
    steps: int | None = None
    samples: int = 1
    strength: float = 1.0
    seed: int = 0
    kernel: Tensor | None = None
    mask: Tensor | None = None
    quality: int | Literal["auto"] = "auto"
    exposure: float | Literal["auto"] = "auto"

    def __post_init__(self) -> None:
        if self.noise != "auto" and not 0.0 <= float(self.noise) <= 255.0:
            raise ParameterError(f'noise must be "auto" or between 0 and 255, not {self.noise!r}')
        if self.scale not in SCALES:
            raise ParameterError(f"scale must be one of {SCALES}, not {self.scale!r}")
        for name in ("fidelity", "strength"):
            value = getattr(self, name)
            if value is not None and not 0.0 <= float(value) <= 1.0:
                raise ParameterError(f"{name} must lie between 0 and 1, not {value!r}")
        if self.steps is not None and not 1 <= self.steps <= 1000:
            raise ParameterError(f"steps must lie between 1 and 1000, not {self.steps!r}")
        if not 1 <= self.samples <= 64:
            raise ParameterError(f"samples must lie between 1 and 64, not {self.samples!r}")
        if self.samples > 1 and self.fidelity == 1.0:
            raise ParameterError("at fidelity 1 every sample is the same picture: give samples > 1 a lower fidelity")
        if not 0 <= self.seed < 2**63:
            raise ParameterError(f"seed must lie between 0 and 2**63 - 1, not {self.seed!r}")
        if self.quality != "auto" and not 1 <= int(self.quality) <= 100:
            raise ParameterError(f'quality must be "auto" or between 1 and 100, not {self.quality!r}')
        if self.exposure != "auto" and not -2.0 <= float(self.exposure) <= 8.0:
            raise ParameterError(f'exposure must be "auto" or between -2 and 8 stops, not {self.exposure!r}')

    @property
    def effective_fidelity(self) -> float:
        """`fidelity`, or what None stands for."""
        if self.fidelity is not None:
            return self.fidelity
        return 1.0 if self.samples == 1 else 0.0
