"""Priors that only enlarge, by a sampler of their own, such as latent upscalers; what may be asked of them.

Nothing here loads torch, so that a server can refuse what makes no sense before a worker is asked.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor

    from restore.prior.protocol import PriorInfo

TASK = "super-resolve"


@dataclass(frozen=True)
class EnlargingStep:
    """A piece of an enlargement is done: one tile of one network.

    Attributes:
        step: calls of the denoising network that are complete, each for the whole picture.
        steps: such calls in all.
        fraction: of all the work, 0 to 1.
        sigma: noise level of the call in progress, in units of its latents.
        estimate: the latest picture [N, 3, H, W], range [-1, 1]; None before the first.
    """

    step: int
    steps: int
    fraction: float
    sigma: float
    estimate: Tensor | None = None


Enlarging = Generator[EnlargingStep, None, "Tensor"]
"""Yields after every piece of work, may be closed there, and returns the large picture [N, 3, H, W]."""


@runtime_checkable
class Enlarger(Protocol):
    """A prior that turns small pictures into large ones which shrink to them, by a sampler of its own.

    Attributes:
        info: facts; `sigma_min` and `sigma_max` are its latents'.
        scale: how many times it enlarges.
        steps: calls of its network when nobody says how many.
        tile: side of its tiles, in pixels of the small picture.
    """

    @property
    def info(self) -> PriorInfo: ...

    @property
    def scale(self) -> int: ...

    @property
    def steps(self) -> int: ...

    @property
    def tile(self) -> int: ...

    def retiled(self, tile: int) -> Enlarger:
        """The same in tiles of another side.

        Raises:
            ParameterError: a side that it cannot have.
        """
        ...

    def smaller(self) -> Enlarger | None:
        """The same in smaller tiles, for less memory; None when they are as small as they can be."""
        ...

    def enlarge(self, small: Tensor, *, steps: int, seed: int) -> Enlarging:
        """Enlarge pictures [N, 3, h, w] in [-1, 1] of any size; the result is on the CPU.

        Raises:
            ParameterError: more steps than it was trained with.
        """
        ...


def unfit(name: str, scale: int, task: str, given: Mapping[str, Any]) -> tuple[str, str] | None:
    """Why an enlarger cannot do what is asked: the parameter's name ("task" among them) and a sentence; None if it can.

    Args:
        name: of the prior.
        scale: how many times it enlarges.
        task: asked for.
        given: fields of `restore.tasks.parameters.Parameters` by name; those left out have their defaults.
    """
    wrong = {
        "task": task != TASK and f"it does no {task}",
        "scale": given.get("scale", 4) != scale and f"not {given.get('scale', 4)}",
        "noise": given.get("noise", "auto") not in ("auto", 0) and "it takes the picture for clean: noise is 0",
        "fidelity": given.get("fidelity") not in (None, 0) and "what it draws is a sample: fidelity is 0",
        "quality": given.get("quality", "auto") != "auto" and "quality means nothing to it",
        "exposure": given.get("exposure", "auto") != "auto" and "exposure means nothing to it",
        "kernel": given.get("kernel") is not None and "a kernel means nothing to it",
        "mask": given.get("mask") is not None and "a mask means nothing to it",
    }
    for field, reason in wrong.items():
        if reason:
            able = f"the prior {name!r} only enlarges, {scale} times (task {TASK}, scale {scale})"
            return field, f"{able}; {reason}; steps, seed, samples and strength are what can be chosen"
    return None
