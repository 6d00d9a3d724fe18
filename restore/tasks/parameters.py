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
        kernel: point spread function for deblurring, [k, k] with odd k, any positive sum. `Restorer` takes arrays and
            gaussian:SIGMA, defocus:RADIUS, motion:LENGTH:ANGLE, too.
        mask: for inpainting, [H, W], True (or non-zero) where the picture is to be filled in. `Restorer` takes arrays
            and pictures (path, bytes, PIL image), bright there, too.
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
        self._check("noise", 'must be "auto" or between 0 and 255', 0, 255, auto=True)
        self._check("fidelity", "must lie between 0 and 1", 0, 1, optional=True)
        self._check("strength", "must lie between 0 and 1", 0, 1)
        self._check("steps", "must lie between 1 and 1000", 1, 1000, whole=True, optional=True)
        self._check("samples", "must lie between 1 and 64", 1, 64, whole=True)
        self._check("seed", "must lie between 0 and 2**63 - 1", 0, 2**63 - 1, whole=True)
        self._check("quality", 'must be "auto" or between 1 and 100', 1, 100, whole=True, auto=True)
        self._check("exposure", 'must be "auto" or between -2 and 8 stops', -2, 8, auto=True)
        if self.scale not in SCALES:
            raise ParameterError(f"scale must be one of {SCALES}, not {self.scale!r}")
        if self.samples > 1 and self.fidelity == 1.0:
            raise ParameterError("at fidelity 1 every sample is the same picture: give samples > 1 a lower fidelity")

    def _check(
        self,
        name: str,
        rule: str,
        low: float,
        high: float,
        *,
        whole: bool = False,
        auto: bool = False,
        optional: bool = False,
    ) -> None:
        """A number in [low, high], or one of the words that stand for a choice left open."""
        value = getattr(self, name)
        if (auto and value == "auto") or (optional and value is None):
            return
        kind = int if whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kind) or not low <= value <= high:
            raise ParameterError(f"{name} {rule}, not {value!r}")

    @property
    def effective_fidelity(self) -> float:
        """`fidelity`, or what None stands for."""
        if self.fidelity is not None:
            return self.fidelity
        return 1.0 if self.samples == 1 else 0.0
