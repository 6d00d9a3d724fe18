"""Networks of latents in tiles: blended with smooth windows, so that no seam is left."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import torch
from torch import Tensor

from restore.prior.tiled import axis_windows, tile_starts

Network = Callable[[Tensor], Tensor]


def finished(work: Generator[Any, None, Tensor]) -> Tensor:
    """What such a piece of work returns, without a stop between its tiles."""
    try:
        while True:
            next(work)
    except StopIteration as stop:
        answer: Tensor = stop.value
        return answer


def tiled_calls(
    network: Network, x: Tensor, tile: int, overlap: int, scale: float = 1.0
) -> Generator[None, None, Tensor]:
    """A network's answer for x [N, C, h, w], tile by tile; whole where x fits into one. Yields after every tile.

    Args:
        network: [N, C, a, b] -> [N, D, scale a, scale b].
        x: of any size.
        tile: largest side of a tile.
        overlap: pixels of x that neighbours share.
        scale: of the answer against x: 4 for a decoder, 1/4 for an encoder (`tile` and `overlap` are then divisible).
    """
    height, width = x.shape[2:]
    if max(height, width) <= tile:
        whole = network(x)
        yield
        return whole
    tall, wide = min(tile, height), min(tile, width)
    tops, lefts = _starts(height, tall, overlap, scale), _starts(width, wide, overlap, scale)
    down = _windows(tops, height, tall, overlap, scale)
    across = _windows(lefts, width, wide, overlap, scale)
    out: Tensor | None = None
    for top, vertical in zip(tops, down, strict=True):
        for left, horizontal in zip(lefts, across, strict=True):
            answer = network(x[:, :, top : top + tall, left : left + wide])
            if out is None:
                out = answer.new_zeros(*answer.shape[:2], round(height * scale), round(width * scale))
            y, z = round(top * scale), round(left * scale)
            weights = vertical[:, None].to(answer) * horizontal[None].to(answer)
            out[:, :, y : y + answer.shape[2], z : z + answer.shape[3]] += weights * answer
            yield
    assert out is not None
    return out


def count_tiles(height: int, width: int, tile: int, overlap: int) -> int:
    """How many tiles `tiled_calls` takes for a picture of this size."""
    sides = (len(tile_starts(side, min(tile, side), min(overlap, min(tile, side) - 1))) for side in (height, width))
    down, across = sides
    return down * across


def _starts(length: int, tile: int, overlap: int, scale: float) -> list[int]:
    if length == tile:
        return [0]
    step = round(1 / scale) if scale < 1 else 1
    return [start - start % step for start in tile_starts(length, tile, min(overlap, tile - 1))]


def _windows(starts: list[int], length: int, tile: int, overlap: int, scale: float) -> Tensor:
    if len(starts) == 1:
        return torch.ones(1, round(tile * scale))
    grown = [round(start * scale) for start in starts]
    reach = round(overlap * scale)
    return axis_windows(grown, round(length * scale), round(tile * scale), reach, reach // 4)
