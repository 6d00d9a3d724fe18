"""How pictures go bad: linear and nonlinear degradations, their noise, and how to be consistent with a measurement.

Names are imported when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from restore.degradations.adapter import DeepinvAdapter
    from restore.degradations.base import Degradation, Estimate, LinearDegradation
    from restore.degradations.blur import Blur
    from restore.degradations.composition import Composition, LinearComposition, compose
    from restore.degradations.cubic import bicubic_upsample
    from restore.degradations.exposure import Exposure
    from restore.degradations.grey import Grey
    from restore.degradations.identity import Identity
    from restore.degradations.jpeg import JPEG
    from restore.degradations.kernels import as_kernel, defocus_kernel, gaussian_kernel, line_kernel, motion_kernel
    from restore.degradations.mask import Mask
    from restore.degradations.noise import GaussianNoise, NoiseModel, PerPixelGaussianNoise, PoissonGaussianNoise
    from restore.degradations.opponent import Opponent
    from restore.degradations.resample import AveragePool, Bicubic, Decimation
    from restore.degradations.spectral import Spectrum

_HOMES = {
    "adapter": ("DeepinvAdapter",),
    "base": ("Degradation", "Estimate", "LinearDegradation"),
    "blur": ("Blur",),
    "composition": ("Composition", "LinearComposition", "compose"),
    "cubic": ("bicubic_upsample",),
    "exposure": ("Exposure",),
    "grey": ("Grey",),
    "identity": ("Identity",),
    "jpeg": ("JPEG",),
    "kernels": ("as_kernel", "defocus_kernel", "gaussian_kernel", "line_kernel", "motion_kernel"),
    "mask": ("Mask",),
    "noise": ("GaussianNoise", "NoiseModel", "PerPixelGaussianNoise", "PoissonGaussianNoise"),
    "opponent": ("Opponent",),
    "resample": ("AveragePool", "Bicubic", "Decimation"),
    "spectral": ("Spectrum",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "JPEG",
    "AveragePool",
    "Bicubic",
    "Blur",
    "Composition",
    "Decimation",
    "DeepinvAdapter",
    "Degradation",
    "Estimate",
    "Exposure",
    "GaussianNoise",
    "Grey",
    "Identity",
    "LinearComposition",
    "LinearDegradation",
    "Mask",
    "NoiseModel",
    "Opponent",
    "PerPixelGaussianNoise",
    "PoissonGaussianNoise",
    "Spectrum",
    "as_kernel",
    "bicubic_upsample",
    "compose",
    "defocus_kernel",
    "gaussian_kernel",
    "line_kernel",
    "motion_kernel",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
