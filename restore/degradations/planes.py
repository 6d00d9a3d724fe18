"""Working through large pictures plane by plane or in strips, so that temporaries stay small."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TypeVar

from torch import Tensor

#: Values handled at once. Below it a batch goes through whole; above, one [H, W] plane after another.
LIMIT = 1 << 22

T = TypeVar("T")


def by_planes(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """`function` on [N, C, H, W], which must treat all planes alike and independently."""
    n, c = x.shape[:2]
    if x.numel() <= LIMIT or n * c == 1:
        return function(x)
    planes = x.reshape(n * c, 1, 1, *x.shape[2:])
    first = function(planes[0])
    out = first.new_empty((n * c, *first.shape[2:]))
    out[0] = first[0, 0]
    for i in range(1, n * c):
        out[i] = function(planes[i])[0, 0]
    return out.view(n, c, *out.shape[1:])


def by_strips(function: Callable[..., Tensor], *pictures: Tensor) -> Tensor:
    """`function` of pictures [N, *, H, W], which must treat all rows of pixels independently, some rows at a time.

    Args:
        function: takes as many strips and gives one of the same height.
        pictures: of one height; those of height 1 belong to every strip.
    """
    height = max(p.shape[-2] for p in pictures)
    largest = max(p.numel() for p in pictures)
    if largest <= LIMIT:
        return function(*pictures)
    rows = max(LIMIT * height // largest, 1)
    out: Tensor | None = None
    for top in range(0, height, rows):
        strip = function(*(p if p.shape[-2] == 1 else p[..., top : top + rows, :] for p in pictures))
        if out is None:
            out = strip.new_empty(*strip.shape[:-2], height, strip.shape[-1])
        out[..., top : top + rows, :] = strip
    assert out is not None
    return out


class Remembered:
    """The last few results of an expensive preparation, by key."""

    def __init__(self, size: int = 2) -> None:
        self._size = size
        self._entries: OrderedDict[Hashable, object] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The entry under `key`, made when it is not there; the least recently used one makes room."""
        if key not in self._entries:
            self._entries[key] = make()
            while len(self._entries) > self._size:
                self._entries.popitem(last=False)
        self._entries.move_to_end(key)
        return self._entries[key]  # type: ignore[return-value]
