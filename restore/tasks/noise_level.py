"""The noise level of a task: the user's, or estimated from the picture."""

from __future__ import annotations

from typing import Any

from restore.estimation import estimate_noise
from restore.tasks.parameters import Parameters
from restore.tasks.plan import Source


def noise_level(source: Source, parameters: Parameters) -> tuple[float, dict[str, Any]]:
    """Noise standard deviation on the 0-255 scale, and what to report about it."""
    if parameters.noise != "auto":
        return float(parameters.noise), {"noise": float(parameters.noise), "noise_source": "given"}
    level = float(estimate_noise(source.image)[0]) * 127.5
    return level, {"noise": round(level, 3), "noise_source": "estimated"}
