"""How a network is run: `build` makes the `Denoiser` of a device, a runtime and a precision.

Importing this loads neither torch nor a runtime.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from restore.errors import RuntimeUnavailableError

if TYPE_CHECKING:
    import torch
    from torch import nn

    from restore.prior.protocol import Denoiser, PriorInfo

#: What can be asked for; "auto" is the fastest one known to answer as torch does on this machine.
RUNTIMES = ("auto", "torch")


def check_runtime(runtime: str) -> None:
    """Refuse a runtime that does not exist.

    Raises:
        RuntimeUnavailableError: not one of `RUNTIMES`.
    """
    if runtime not in RUNTIMES:
        raise RuntimeUnavailableError(f"no runtime {runtime!r}; choose one of {', '.join(RUNTIMES)}")


def build(
    network: nn.Module,
    info: PriorInfo,
    *,
    device: torch.device | str,
    runtime: str = "auto",
    precision: str = "auto",
    digest: str = "",
) -> Denoiser:
    """A network as a denoiser of tiles: sizes up to what memory holds, not cut up here.

    Args:
        network: any module that answers `forward(x [N, 3, H, W] float32, sigma [N] float32)` with the denoised
            pictures, for H and W divisible by `info.multiple_of`; taken over: moved, frozen, its layout changed.
        info: its facts.
        device: "cpu", "cuda", "cuda:N" or such a `torch.device`.
        runtime: one of `RUNTIMES`.
        precision: "auto", or one that the runtime knows.
        digest: "sha256:..." of the weights, by which what was exported or measured is found again; `info.digest`
            when empty.

    Raises:
        RuntimeUnavailableError: no such runtime, device or precision here.
    """
    check_runtime(runtime)
    from models.denoiser import TorchDenoiser

    return TorchDenoiser(network, info, device, precision)
