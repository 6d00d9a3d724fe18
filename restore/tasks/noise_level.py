"""The noise level of a task: the user's, or estimated from the picture."""

from __future__ import annotations

from typing import Any

from restore.estimation import estimate_noise, estimate_visible_noise
from restore.tasks.parameters import Parameters
from restore.tasks.plan import Source

#: A grey picture has one noise in three channels, where a prior expects three independent ones: of those the mean,
#: which is the grey, has 1/sqrt(3) of the level. On eight held-out photographs at noise 15, 25 and 40, telling
#: the embedded prior sqrt(3) times the level gives 0.7 to 0.8 dB more than telling it the level; 1.4 and 2 times give
#: 0.1 and 0.5 dB less. A prior that was not trained on grey noise gains 4 to 7 dB.
SHARED = 3.0**0.5


def noise_level(source: Source, parameters: Parameters) -> tuple[float, dict[str, Any]]:
    """Noise standard deviation on the 0-255 scale, and what to report about it."""
    if parameters.noise != "auto":
        return float(parameters.noise), {"noise": float(parameters.noise), "noise_source": "given"}
    level = float(estimate_noise(source.image)[0]) * 127.5
    return level, {"noise": round(level, 3), "noise_source": "estimated"}


def visible_noise_level(source: Source, parameters: Parameters) -> tuple[float, dict[str, Any]]:
    """As `noise_level`, but a camera's noise, correlated between pixels, is recognised and measured at coarse scales.

    For tasks whose degradation is noise alone: after a blur or a reduction, texture looks the same.
    """
    if parameters.noise != "auto":
        return noise_level(source, parameters)
    sigma, correlated = estimate_visible_noise(source.image)
    origin = "estimated, correlated between pixels" if correlated else "estimated"
    return sigma * 127.5, {"noise": round(sigma * 127.5, 3), "noise_source": origin}


def shared_by_channels(source: Source) -> float:
    """What a denoiser of colour must be told in units of this picture's noise level: more than 1 for a grey one."""
    return SHARED if source.grey else 1.0
