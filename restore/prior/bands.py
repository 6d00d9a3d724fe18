"""One call of the prior on a picture that comes and goes in strips, from top to bottom."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from restore.prior.tiled import TiledCall, Tiling


class RowQueue:
    """Rows of a picture waiting to be used: strips [..., h, W] come in, others go out."""

    def __init__(self, strips: Iterator[Tensor]) -> None:
        self._strips = strips
        self._rows: Tensor | None = None

    def peek(self, count: int) -> Tensor:
        """The next `count` rows, which stay."""
        parts = [] if self._rows is None else [self._rows]
        held = sum(part.shape[-2] for part in parts)
        while held < count:
            parts.append(next(self._strips))
            held += parts[-1].shape[-2]
        self._rows = parts[0] if len(parts) == 1 else torch.cat(parts, dim=-2)
        return self._rows[..., :count, :]

    def drop(self, count: int) -> None:
        """The next `count` rows are not needed any more."""
        assert self._rows is not None
        # A copy: a view would keep the dropped rows in memory.
        self._rows = self._rows[..., count:, :].clone()


def denoise_in_bands(
    strips: Iterator[Tensor],
    size: tuple[int, int],
    sigma: Tensor,
    tiling: Tiling,
    answer: Callable[[TiledCall], None],
) -> Iterator[Tensor]:
    """The denoised rows of a picture larger than a tile, the same as those of the whole picture's call.

    Held in memory are the rows of one band of tiles, twice, and a strip.

    Args:
        strips: rows of the picture, [1, C, h, W] float32 each.
        size: (height, width) of the picture.
        sigma: [1] float32.
        tiling: how it is cut.
        answer: answers all tiles of a call.

    Yields:
        [1, C, h, W] float32, from top to bottom.
    """
    height, width = size
    shape = tiling.shape(height, width)
    bands = tiling.bands(height, width, float(sigma))
    queue = RowQueue(strips)
    carried: Tensor | None = None
    for index, places in enumerate(bands):
        top = places[0].top
        bottom = min(top + shape[0], height)
        end = bands[index + 1][0].top if index + 1 < len(bands) else height
        x = queue.peek(bottom - top)
        out = torch.zeros_like(x)
        if carried is not None:
            out[..., : carried.shape[-2], :] = carried
        answer(TiledCall(x, sigma, shape, [replace(place, top=0) for place in places], out))
        yield out[..., : end - top, :]
        carried = out[..., end - top :, :].clone()
        queue.drop(end - top)
