"""How much memory a network's call takes, and tiles that fit into what a device has left."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from restore.prior.protocol import PriorInfo

#: Of the free memory, what one call may take; the pictures themselves and other work need some as well.
SHARE = 0.5
#: What a call really takes against its tensors: the libraries' own buffers and copies in other layouts (the embedded
#: prior in float32 on a CPU: 1.4 to 1.9 by resident memory at 256 to 1024 pixels).
OVERHEAD = 2.0
#: Bytes per pixel that no network of this project's kinds reaches: where even this fits, nothing need be measured.
CEILING = 16384.0
#: Tiles are not made smaller than this beforehand: below, overlaps are most of the work.
SMALLEST_TILE = 128
#: Side of the trial call.
TRIAL = 64


class _Live(TorchDispatchMode):
    """Counts the bytes of the tensors that are alive between operations."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._storages: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self._watch(leaf)
        self.peak = max(self.peak, self.now)
        return out

    def _watch(self, tensor: Tensor) -> None:
        """Count a tensor's memory, views of it not again, until it is gone."""
        storage = tensor.untyped_storage()
        place, size = storage.data_ptr(), storage.nbytes()
        if place not in self._storages:
            self._storages.add(place)
            self.now += size
            weakref.finalize(tensor, self._drop, place, size)

    def _drop(self, place: int, size: int) -> None:
        self._storages.discard(place)
        self.now -= size


def bytes_per_pixel(network: nn.Module, info: PriorInfo) -> float:
    """Peak memory of one call per pixel of its input, in float32: `OVERHEAD` times the tensors alive in a small call.

    Args:
        network: answers `forward(x, sigma)`; left as it is.
        info: its facts.
    """
    multiple = info.multiple_of
    side = info.native_size or -(-TRIAL // multiple) * multiple
    parameter = next(network.parameters(), torch.zeros(()))
    x = torch.zeros(1, info.channels, side, side, device=parameter.device)
    with torch.no_grad(), _Live() as live:
        network(x, torch.full((1,), 0.1, device=parameter.device))
    return OVERHEAD * float(live.peak) / float(side * side)


@dataclass(frozen=True)
class Fit:
    """Largest side of a tile, and tiles in one call."""

    tile: int
    batch: int


def fit(per_pixel: float, available: int | None, wanted: Fit, fixed_tile: bool = False) -> Fit:
    """The wanted tiles, or what of them fits into memory: first fewer at a time, then smaller ones.

    Args:
        per_pixel: see `bytes_per_pixel`.
        available: bytes; None when unknown, then all is granted.
        wanted: at most this.
        fixed_tile: the network knows one size only.
    """
    if available is None or per_pixel <= 0:
        return wanted
    budget, tile = SHARE * available, wanted.tile
    while not fixed_tile and per_pixel * tile * tile > budget and tile // 2 >= SMALLEST_TILE:
        tile //= 2
    return Fit(tile, max(1, min(wanted.batch, int(budget / (per_pixel * tile * tile)))))


def fit_network(network: nn.Module, info: PriorInfo, available: int | None, wanted: Fit) -> Fit:
    """`fit` for a network, which is only tried out where memory is scarce: the trial takes half a second.

    Args:
        network: see `bytes_per_pixel`.
        info: its facts.
        available: bytes; None when unknown.
        wanted: at most this.
    """
    fixed = info.native_size is not None
    if fit(CEILING, available, wanted, fixed) == wanted:
        return wanted
    return fit(bytes_per_pixel(network, info), available, wanted, fixed)
