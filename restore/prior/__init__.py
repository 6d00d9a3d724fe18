"""Priors: the `Denoiser` protocol, wrappers that turn networks into it, and how installed priors are found.

Names are imported on first use, so that finding and listing priors does not load torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from restore.prior.enlarger import Enlarger, EnlargingStep
    from restore.prior.gaussian import GaussianDenoiser, gaussian_posterior, operator_matrix, power_law_spectrum
    from restore.prior.padding import PaddedDenoiser, padded, reflect_pad
    from restore.prior.protocol import Denoiser, ErrorTable, PriorInfo
    from restore.prior.registry import list_priors, load_prior, release_priors, shared_prior
    from restore.prior.tiled import TiledCall, TiledDenoiser, Tiling, tile_starts
    from restore.prior.wrappers import EpsilonDenoiser, Network, SampleDenoiser, VelocityDenoiser

_MODULES = {
    "enlarger": ("Enlarger", "EnlargingStep"),
    "gaussian": ("GaussianDenoiser", "gaussian_posterior", "operator_matrix", "power_law_spectrum"),
    "padding": ("PaddedDenoiser", "padded", "reflect_pad"),
    "protocol": ("Denoiser", "ErrorTable", "PriorInfo"),
    "registry": ("list_priors", "load_prior", "release_priors", "shared_prior"),
    "tiled": ("TiledCall", "TiledDenoiser", "Tiling", "tile_starts"),
    "wrappers": ("EpsilonDenoiser", "Network", "SampleDenoiser", "VelocityDenoiser"),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "Denoiser",
    "Enlarger",
    "EnlargingStep",
    "EpsilonDenoiser",
    "ErrorTable",
    "GaussianDenoiser",
    "Network",
    "PaddedDenoiser",
    "PriorInfo",
    "SampleDenoiser",
    "TiledCall",
    "TiledDenoiser",
    "Tiling",
    "VelocityDenoiser",
    "gaussian_posterior",
    "list_priors",
    "load_prior",
    "operator_matrix",
    "padded",
    "power_law_spectrum",
    "reflect_pad",
    "release_priors",
    "shared_prior",
    "tile_starts",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
