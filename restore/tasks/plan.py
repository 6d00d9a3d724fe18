"""What a task makes of a picture and the user's parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor

from restore.degradations.base import Degradation
from restore.prior.protocol import PriorInfo
from restore.sampling.protocol import Problem, Sampling
from restore.tasks.parameters import Parameters


def unchanged(x: Tensor) -> Tensor:
    """The identity, for plans that need no finishing."""
    return x


@dataclass(frozen=True)
class Plan:
    """How one picture will be restored.

    Attributes:
        y: the measurement, [1, ...].
        degradation: how it came about.
        sampler: turns a `Problem` into a generator of denoiser calls.
        finish: applied to the sampler's result [N, C, H, W] (cropping, say).
        finish_map: the same for an uncertainty map.
        baseline: the picture to blend with when `strength` < 1, in the result's size; None for the source itself.
        effective: parameters as they were used, where they differ from those given.
        colour: the result has colour although the given picture has none.
        found: what was estimated from the picture (noise, JPEG quality, exposure, ...), for the report.
        warnings: what the user should know.
    """

    y: Tensor
    degradation: Degradation
    sampler: Callable[[Problem], Sampling]
    finish: Callable[[Tensor], Tensor] = unchanged
    finish_map: Callable[[Tensor], Tensor] = unchanged
    baseline: Callable[[], Tensor] | None = None
    effective: dict[str, Any] = field(default_factory=dict)
    colour: bool = False
    found: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """The picture a task is given.

    Attributes:
        image: [1, 3, H, W] float32 in [-1, 1], sRGB.
        grey: whether the three channels are one and the same.
        quantisation: a JPEG file's own quantisation tables, {0: luma, 1: chroma}, each 64 numbers row by row
            (not zigzag); None when the picture does not come from a JPEG file.
        subsampling: of the file's chroma as (vertical, horizontal), (1, 1) for 4:4:4 and (2, 2) for 4:2:0.
    """

    image: Tensor
    grey: bool = False
    quantisation: dict[int, tuple[int, ...]] | None = None
    subsampling: tuple[int, int] = (1, 1)


class Task(Protocol):
    """A preset: parameters in, plan out."""

    def __call__(self, source: Source, parameters: Parameters, prior: PriorInfo) -> Plan: ...
