"""Denoising a picture of any size in overlapping tiles of one shape."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from restore.errors import ParameterError
from restore.prior.padding import padded, reflect_pad
from restore.prior.protocol import Denoiser, PriorInfo

#: Offsets a grid can take on each axis: enough that the places of its seams differ between most calls of a run.
PHASES = 4


def tile_starts(length: int, tile: int, overlap: int, offset: int = 0) -> list[int]:
    """First pixels of the tiles that cover `length` pixels, rising.

    Neighbours share `overlap` pixels or more. The grid is moved left by `offset`; the first and last tile are moved
    inwards until they touch the border, so no tile leaves the picture.

    Args:
        length: of the picture along this axis, at least `tile`.
        tile: length of every tile.
        overlap: in [0, tile).
        offset: in [0, tile - overlap).

    Raises:
        ValueError: an argument is outside these limits.
    """
    stride = tile - overlap
    if not (0 <= overlap < tile <= length and 0 <= offset < stride):
        raise ValueError(f"no tiles of {tile} pixels with overlap {overlap} and offset {offset} in {length}")
    last = length - tile
    count = 1 + math.ceil((last + offset) / stride)
    return sorted({min(max(k * stride - offset, 0), last) for k in range(count)})


def axis_windows(starts: list[int], length: int, tile: int, overlap: int, margin: int) -> Tensor:
    """Weights [tiles, tile] float32 of each tile along one axis; where tiles overlap they sum to one.

    A raised cosine (Hann) flank. Within `margin` of an edge that lies inside the picture a weight is zero: these
    pixels lacked context. An edge on the picture's own border is not faded: the whole picture ends there as well.
    """
    position = torch.arange(tile, dtype=torch.float64) + 0.5
    flank = max(overlap - 2 * margin, 1)
    windows = torch.ones(len(starts), tile, dtype=torch.float64)
    for window, start in zip(windows, starts, strict=True):
        if start > 0:
            window *= _fade((position - margin) / flank)
        if start + tile < length:
            window *= _fade((tile - position - margin) / flank)
    total = torch.zeros(length, dtype=torch.float64)
    for window, start in zip(windows, starts, strict=True):
        total[start : start + tile] += window
    for window, start in zip(windows, starts, strict=True):
        window /= total[start : start + tile]
    return windows.float()


def _fade(distance: Tensor) -> Tensor:
    """0 to 1 as the distance goes from 0 to 1."""
    return (0.5 * math.pi * distance.clamp(0.0, 1.0)).sin().square()


def grid_phases(sigma: float) -> tuple[int, int]:
    """(vertical, horizontal) phase in [0, PHASES), from the bits of a float32 noise level.

    A call thereby has one answer whatever was called before, while the levels of a schedule use different grids.
    Multiplicative hashing (Knuth 1998, section 6.4).
    """
    bits = int(torch.tensor(sigma, dtype=torch.float32).view(torch.int32).item()) & 0xFFFFFFFF
    mixed = (bits * 2654435761) & 0xFFFFFFFF
    return (mixed >> 28) % PHASES, (mixed >> 24) % PHASES


class TiledDenoiser:
    """A denoiser for pictures of any height and width, in memory of one picture and one batch of tiles.

    All tiles of all rows have one shape and share batches. Their answers are blended with smooth windows that sum to
    one and accumulated in float32. The grid's place depends on the bits of a row's sigma (`grid_phases`), so seams do
    not pile up over the steps of a sampler and the same (x, sigma) always has the same answer. When the receptive
    field is at most the overlap, the result is that of the whole picture. A picture that fits in one tile goes
    straight through; others are divided evenly, so that their tiles are no larger than their number asks for.

    Args:
        denoiser: answers for tiles.
        tile: largest side of a tile; rounded up to `multiple_of`, replaced by `native_size` where the denoiser has one.
        overlap: least number of pixels that neighbours share; when None, the receptive field, but at least 16 pixels
            and at most a quarter of a tile (little of a network's receptive field is effective, Luo et al. 2016).
        max_batch: tiles in one call of the denoiser.

    Raises:
        ParameterError: an overlap that is negative or more than half a tile, or no room for a tile.
    """

    def __init__(self, denoiser: Denoiser, tile: int = 256, overlap: int | None = None, max_batch: int = 4) -> None:
        info = denoiser.info
        multiple = info.multiple_of
        tile = info.native_size if info.native_size is not None else -(-tile // multiple) * multiple
        if overlap is None:
            overlap = min(max(info.receptive_field, 16), tile // 4)
        # Every tile starts at a multiple of `multiple_of`: a strided network then sees the phase it sees in the whole.
        overlap = -(-overlap // multiple) * multiple
        if tile < 1 or not 0 <= overlap <= tile // 2 or max_batch < 1:
            raise ParameterError(
                f"tiles of {tile} pixels need an overlap in [0, {tile // 2}] and a batch of at least 1, "
                f"not {overlap} and {max_batch}"
            )
        self._denoiser = denoiser
        self._single = padded(denoiser)
        self.tile, self.overlap, self.max_batch = tile, overlap, max_batch
        # Beyond the overlap's reach an exact result is impossible: spend half of the overlap on the flank.
        exact = info.receptive_field <= overlap
        self._margin = info.receptive_field // 2 if exact else overlap // 4

    @property
    def info(self) -> PriorInfo:
        """The wrapped denoiser's facts, without its restrictions on the size."""
        return replace(self._denoiser.info, multiple_of=1, native_size=None)

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Denoise x [N, C, H, W] float32, any H and W, with sigma [N] float32."""
        if max(x.shape[2:]) <= self.tile:
            parts = [slice(first, first + self.max_batch) for first in range(0, x.shape[0], self.max_batch)]
            answers = [self._single(x[part], sigma[part]) for part in parts]
            return answers[0] if len(answers) == 1 else torch.cat(answers)
        height, tile_height = self._axis(x.shape[2])
        width, tile_width = self._axis(x.shape[3])
        out = torch.zeros_like(x, dtype=torch.float32, requires_grad=False)
        places: list[tuple[int, int, int]] = []
        windows: list[tuple[Tensor, Tensor]] = []
        for row, level in enumerate(sigma.tolist()):
            vertical, horizontal = grid_phases(level)
            tops, top_windows = self._grid(height, tile_height, vertical)
            lefts, left_windows = self._grid(width, tile_width, horizontal)
            for top, down in zip(tops, top_windows, strict=True):
                for left, across in zip(lefts, left_windows, strict=True):
                    places.append((row, top, left))
                    windows.append((down, across))
        for first in range(0, len(places), self.max_batch):
            chosen = slice(first, first + self.max_batch)
            batch = torch.cat(
                [
                    reflect_pad(
                        x[row : row + 1, :, top : top + tile_height, left : left + tile_width], tile_height, tile_width
                    )
                    for row, top, left in places[chosen]
                ]
            )
            rows = torch.tensor([row for row, _, _ in places[chosen]], device=sigma.device)
            denoised = self._denoiser(batch, sigma[rows])
            for answer, (row, top, left), (down, across) in zip(denoised, places[chosen], windows[chosen], strict=True):
                target = out[row, :, top : top + tile_height, left : left + tile_width]
                h, w = target.shape[1:]
                weight = down[:h, None].to(out.device) * across[None, :w].to(out.device)
                target += weight * answer[:, :h, :w].float()
        return out

    def _axis(self, length: int) -> tuple[int, int]:
        """Length of an axis after padding, and of the tiles along it."""
        fixed = self._denoiser.info.native_size is not None
        multiple = self._denoiser.info.multiple_of
        grown = max(length, self.tile) if fixed else -(-length // multiple) * multiple
        if fixed or grown <= self.tile:
            return grown, min(grown, self.tile)
        count = self._count(grown, self.tile)
        even = math.ceil((grown + count * self.overlap) / count)
        return grown, -(-even // multiple) * multiple

    def _count(self, length: int, tile: int) -> int:
        """Tiles along an axis: enough to leave the grid room to move by one overlap."""
        return math.ceil(length / (tile - self.overlap))

    def _grid(self, length: int, tile: int, phase: int) -> tuple[list[int], Tensor]:
        """Starts of the tiles along an axis, and their windows."""
        if length == tile:
            return [0], torch.ones(1, tile)
        count, stride = self._count(length, tile), tile - self.overlap
        room = min(count * stride + self.overlap - length, stride - 1)
        multiple = self._denoiser.info.multiple_of
        offset = phase * room // (PHASES - 1) // multiple * multiple
        starts = tile_starts(length, tile, self.overlap, offset)
        return starts, axis_windows(starts, length, tile, self.overlap, self._margin)
