"""What is wrong with a picture: blind estimation of noise, compression and exposure.

Names are imported when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from restore.estimation.colour import load_colour_estimator
    from restore.estimation.dark_noise import estimate_dark_noise
    from restore.estimation.exposure import estimate_exposure
    from restore.estimation.jpeg import estimate_quality
    from restore.estimation.noise import NoiseEstimate, analyse_noise, estimate_noise, estimate_poisson_gaussian
    from restore.estimation.visible_noise import estimate_visible_noise

_HOME = {
    "NoiseEstimate": "noise",
    "analyse_noise": "noise",
    "estimate_dark_noise": "dark_noise",
    "estimate_exposure": "exposure",
    "estimate_noise": "noise",
    "estimate_poisson_gaussian": "noise",
    "estimate_quality": "jpeg",
    "estimate_visible_noise": "visible_noise",
    "load_colour_estimator": "colour",
}

__all__ = [
    "NoiseEstimate",
    "analyse_noise",
    "estimate_dark_noise",
    "estimate_exposure",
    "estimate_noise",
    "estimate_poisson_gaussian",
    "estimate_quality",
    "estimate_visible_noise",
    "load_colour_estimator",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
