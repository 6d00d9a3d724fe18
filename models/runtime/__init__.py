"""How a network is run: `build` makes the `Denoiser` of a device, a runtime and a precision.

Importing this loads neither torch nor a runtime.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.runtime.names import PRECISIONS, RUNTIMES, Choice

if TYPE_CHECKING:
    import torch
    from torch import nn

    from restore.prior.protocol import Denoiser, PriorInfo

__all__ = ["PRECISIONS", "RUNTIMES", "Choice", "build", "check_runtime"]


def check_runtime(runtime: str) -> None:
    """Refuse a runtime that does not exist.

    Raises:
        RuntimeUnavailableError: not one of `RUNTIMES`, or a precision that it does not have.
    """
    Choice.parse(runtime)


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

    What another runtime than torch needs, an exported graph, is made when it is first asked for (some ten seconds)
    and kept in a private folder (`models.runtime.cache`).

    Args:
        network: any module that answers `forward(x [N, 3, H, W] float32, sigma [N] float32)` with the denoised
            pictures, for H and W divisible by `info.multiple_of`; taken over: moved, frozen, its layout changed.
        info: its facts.
        device: "cpu", "cuda", "cuda:N" or such a `torch.device`.
        runtime: one of `RUNTIMES`, perhaps with a precision: "openvino:bf16". The answer's `info.runtime` says which
            one it became.
        precision: of a runtime given without one.
        digest: "sha256:..." of the weights, reported; `info.digest` when empty.

    Raises:
        RuntimeUnavailableError: no such runtime, device or precision here; never is another one taken instead.
        ExportError: the network cannot be exported for that runtime.
    """
    choice = Choice.parse(runtime, precision)
    from models.runtime.building import build_choice

    return build_choice(choice, network, info, device)
