"""Latent diffusion models that enlarge four times, held to the picture they were given.

They are no denoisers of pixels: a network denoises latents beside the small picture, a decoder makes pixels of them.
Consistency with the small picture is enforced on the decoded pixels.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models.latent.upscaler import LatentUpscaler

__all__ = ["load_enlarger", "load_upscaler"]


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

    if isinstance(source, Path):
        return load_folder(source, device)
    facts = verify(source)
    return load_folder(facts.folder, device, name=facts.name, digest=facts.digest)


def load_enlarger(name: str | None = None, *, runtime: str = "auto", device: str = "auto") -> LatentUpscaler | None:
    """An installed latent upscaler; None when the name is that of another prior, or of none.

    Args:
        name: of the prior.
        runtime: "auto" or "torch", in float32; nothing else runs it.
        device: see `models.registry.choose_device`.

    Raises:
        RuntimeUnavailableError: another runtime, or no such device.
        CorruptWeightsError, UnsafeWeightsError, UnsupportedNetworkError: see `load_upscaler`.
    """
    from models.registry import choose_device, installed, prior_facts

    if name is None or name not in installed() or prior_facts(name).scale is None:
        return None
    check_latent_runtime(name, runtime)
    return load_upscaler(name, str(choose_device(device)))


def check_latent_runtime(name: str, runtime: str) -> None:
    """Refuse what does not run latent upscalers.

    Args:
        name: of the prior.
        runtime: asked for.

    Raises:
        RuntimeUnavailableError: it is not torch in float32.
    """
    from models.runtime.names import Choice
    from restore.errors import RuntimeUnavailableError

    choice = Choice.parse(runtime)
    if choice.runtime not in ("auto", "torch") or choice.precision not in ("auto", "fp32"):
        raise RuntimeUnavailableError(f"the prior {name!r} runs by torch in float32 only, not {choice}; choose auto")
