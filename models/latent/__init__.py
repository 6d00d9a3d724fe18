"""Latent diffusion models that enlarge four times, held to the picture they were given.

They are no denoisers of pixels: a network denoises latents beside the small picture, a decoder makes pixels of them.
Consistency with the small picture is enforced on the decoded pixels.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models.latent.upscaler import LatentUpscaler

__all__ = ["load_upscaler"]


def load_upscaler(source: str | Path, device: str = "cpu") -> LatentUpscaler:
    """A latent upscaler: an installed one by name, its files verified, or one in a folder.

    Args:
        source: a name, or a folder (see `models.latent.loading.load_upscaler`).
        device: where it runs.

    Raises:
        UnknownPriorError, NotPulledError: no such name, or not on this machine.
        CorruptWeightsError, UnsafeWeightsError, UnsupportedNetworkError: see `models.latent.loading.load_upscaler`.
    """
    from models.latent.loading import load_upscaler as load_folder
    from models.registry import verify

    return load_folder(source if isinstance(source, Path) else verify(source).folder, device)
