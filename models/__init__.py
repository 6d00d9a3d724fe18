"""Priors: networks, weights, training, registry, and the denoisers made of them.

    import models
    denoiser = models.load_denoiser()                      # the embedded prior, on the fastest runtime here
    x0 = denoiser(x, sigma)                                # [N, 3, H, W] in [-1, 1], sigma [N]

Importing this package is cheap; torch is loaded when a name is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.registry import load_denoiser as load_denoiser

__all__ = ["load_denoiser"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module("models.registry"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
