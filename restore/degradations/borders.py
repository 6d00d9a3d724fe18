"""Half-sample symmetric borders: the picture continues as its own mirror image, the edge pixel repeated."""

from __future__ import annotations

import torch
from torch import Tensor


def mirror_index(length: int, before: int, after: int) -> Tensor:
    """[before + length + after] int64: which sample stands at positions -before .. length + after - 1.

    The extension has period 2 `length`, so borders may be longer than the signal.
    """
    position = torch.arange(-before, length + after) % (2 * length)
    return torch.where(position < length, position, 2 * length - 1 - position)


def extend(x: Tensor, dim: int, before: int, after: int) -> Tensor:
    """x with its mirror image added along `dim`."""
    if before == 0 and after == 0:
        return x
    length = x.shape[dim]
    if max(before, after) > length:
        return x.index_select(dim, mirror_index(length, before, after).to(x.device))
    first, last = x.narrow(dim, 0, before), x.narrow(dim, length - after, after)
    return torch.cat((first.flip(dim), x, last.flip(dim)), dim)


def fold(x: Tensor, dim: int, before: int, after: int) -> Tensor:
    """Adjoint of `extend`: what stands in the borders is added where it was copied from."""
    length = x.shape[dim] - before - after
    if before == 0 and after == 0:
        return x
    out = x.narrow(dim, before, length).clone()
    if max(before, after) <= length:
        out.narrow(dim, 0, before).add_(x.narrow(dim, 0, before).flip(dim))
        out.narrow(dim, length - after, after).add_(x.narrow(dim, before + length, after).flip(dim))
        return out
    index = mirror_index(length, before, after).to(x.device)
    if before:
        out.index_add_(dim, index[:before], x.narrow(dim, 0, before))
    if after:
        out.index_add_(dim, index[before + length :], x.narrow(dim, before + length, after))
    return out
