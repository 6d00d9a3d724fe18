"""Denoising a picture of any size in overlapping tiles of one shape."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from restore.errors import ParameterError
from restore.prior.padding import reflect_pad
from restore.prior.protocol import Denoiser, PriorInfo

#: Offsets a grid can take on each axis: enough that the places of its seams differ between most calls of a run.
PHASES = 4
#: Side of the smallest tiles that want of memory leads to: they take a sixty-fourth of what tiles of 512 take.
SMALLEST = 64


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


@dataclass(frozen=True)
class Place:
    """Where a tile lies in its row, and its weights along both axes (None: the tile is the whole row)."""

    row: int
    top: int
    left: int
    windows: tuple[Tensor, Tensor] | None


class Tiling:
    """How the calls of one denoiser are cut into tiles of one shape.

    A call's tiles depend on its size and noise levels only, never on what else is going on. The grid's place depends
    on the bits of a row's sigma (`grid_phases`), so seams do not pile up over the steps of a sampler and the same
    (x, sigma) always has the same answer. A picture that fits in one tile stays whole; others are divided evenly, so
    that their tiles are no larger than their number asks for.

    Args:
        info: facts of the denoiser that answers for tiles.
        tile: largest side of a tile; rounded up to `multiple_of`, replaced by `native_size` where the prior has one.
        overlap: least number of pixels that neighbours share; when None, the receptive field, but at least 16 pixels
            and at most a quarter of a tile (little of a network's receptive field is effective, Luo et al. 2016).

    Raises:
        ParameterError: an overlap that is negative or more than half a tile, or no room for a tile.
    """

    def __init__(self, info: PriorInfo, tile: int = 256, overlap: int | None = None) -> None:
        multiple = info.multiple_of
        tile = info.native_size if info.native_size is not None else -(-tile // multiple) * multiple
        if overlap is None:
            overlap = min(max(info.receptive_field, 16), tile // 4)
        # Every tile starts at a multiple of `multiple_of`: a strided network then sees the phase it sees in the whole.
        overlap = -(-overlap // multiple) * multiple
        if tile < 1 or not 0 <= overlap <= tile // 2:
            raise ParameterError(f"tiles of {tile} pixels need an overlap in [0, {tile // 2}], not {overlap}")
        self.info, self.tile, self.overlap = info, tile, overlap
        # Beyond the overlap's reach an exact result is impossible: spend half of the overlap on the flank.
        exact = info.receptive_field <= overlap
        self._margin = info.receptive_field // 2 if exact else overlap // 4

    def smaller(self, side: int) -> Tiling | None:
        """Tiles of half of `side`, for a device that has no memory for tiles of `side`, but of `SMALLEST` pixels before
        giving up; None when they are as small already, or the network has one size only."""
        multiple, side = self.info.multiple_of, min(self.tile, side)
        half = max(side // 2 // multiple * multiple, -(-SMALLEST // multiple) * multiple)
        if self.info.native_size is not None or half >= side:
            return None
        return Tiling(self.info, half, min(self.overlap, half // 4))

    def cut(self, x: Tensor, sigma: Tensor) -> TiledCall:
        """One call cut into tiles: x [N, C, H, W], sigma [N]."""
        height, width = x.shape[2:]
        if max(height, width) <= self.tile:
            whole = [Place(row, 0, 0, None) for row in range(x.shape[0])]
            return TiledCall(x, sigma, (self._padded(height), self._padded(width)), whole)
        shape = self.shape(height, width)
        places = [
            replace(place, row=row)
            for row, level in enumerate(sigma.tolist())
            for band in self.bands(height, width, level)
            for place in band
        ]
        return TiledCall(x, sigma, shape, places)

    def shape(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the tiles of a picture that does not fit into one."""
        return self._axis(height)[1], self._axis(width)[1]

    def bands(self, height: int, width: int, sigma: float) -> list[list[Place]]:
        """The tiles of such a picture at a noise level, those beside each other together, from top to bottom."""
        height, tile_height = self._axis(height)
        width, tile_width = self._axis(width)
        vertical, horizontal = grid_phases(sigma)
        tops, top_windows = self._grid(height, tile_height, vertical)
        lefts, left_windows = self._grid(width, tile_width, horizontal)
        return [
            [Place(0, top, left, (down, across)) for left, across in zip(lefts, left_windows, strict=True)]
            for top, down in zip(tops, top_windows, strict=True)
        ]

    def _padded(self, length: int) -> int:
        """Length of an axis that fits in a tile, as the network takes it."""
        if self.info.native_size is not None:
            return self.info.native_size
        return -(-length // self.info.multiple_of) * self.info.multiple_of

    def _axis(self, length: int) -> tuple[int, int]:
        """Length of an axis after padding, and of the tiles along it."""
        fixed = self.info.native_size is not None
        multiple = self.info.multiple_of
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
        multiple = self.info.multiple_of
        offset = phase * room // (PHASES - 1) // multiple * multiple
        starts = tile_starts(length, tile, self.overlap, offset)
        return starts, axis_windows(starts, length, tile, self.overlap, self._margin)


class TiledCall:
    """One call on its way: tiles are handed out, their answers blended with smooth windows that sum to one.

    Answers are accumulated in float32 in the order of the tiles, whoever gives them, so that the sum has the same
    bits however the tiles were batched. See `Tiling.cut`.

    Attributes:
        shape: (height, width) of every tile.
        added: how many tiles were answered.
    """

    def __init__(
        self, x: Tensor, sigma: Tensor, shape: tuple[int, int], places: list[Place], out: Tensor | None = None
    ) -> None:
        self.shape = shape
        self._x, self._sigma, self._places = x, sigma, places
        self._out = out
        self.added = 0

    def __len__(self) -> int:
        return len(self._places)

    @property
    def device(self) -> torch.device:
        """Where the picture lies."""
        return self._x.device

    @property
    def done(self) -> bool:
        """Whether every tile was answered."""
        return self.added == len(self._places)

    def tile(self, index: int) -> tuple[Tensor, Tensor]:
        """x [1, C, h, w] and sigma [1] of one tile."""
        place = self._places[index]
        height, width = self.shape
        part = self._x[place.row : place.row + 1, :, place.top : place.top + height, place.left : place.left + width]
        return reflect_pad(part, height, width), self._sigma[place.row : place.row + 1]

    def next(self, most: int) -> tuple[Tensor, Tensor]:
        """x [n, C, h, w] and sigma [n] of the tiles to be answered next, `most` of them or fewer."""
        tiles = [self.tile(i) for i in range(self.added, min(self.added + most, len(self)))]
        if len(tiles) == 1:
            return tiles[0]
        return torch.cat([x for x, _ in tiles]), torch.cat([sigma for _, sigma in tiles])

    def add(self, answer: Tensor) -> None:
        """Blend in the answer [C, h, w] of the next tile in order; that of a lone tile is handed on as it is."""
        place = self._places[self.added]
        self.added += 1
        if len(self) == 1 and self._out is None:
            height, width = self._x.shape[2:]
            self._out = answer[None, :, :height, :width].to(self._x.device, torch.float32)
            return
        if self._out is None:
            self._out = torch.zeros_like(self._x, dtype=torch.float32, requires_grad=False)
        height, width = self.shape
        target = self._out[place.row, :, place.top : place.top + height, place.left : place.left + width]
        h, w = target.shape[1:]
        answer = answer[:, :h, :w].to(target.device, torch.float32)
        if place.windows is None:
            target += answer
            return
        down, across = place.windows
        target += down[:h, None].to(target.device) * across[None, :w].to(target.device) * answer

    def result(self) -> Tensor:
        """The denoised pictures, like x, once every tile was answered."""
        if self._out is None or not self.done:
            raise RuntimeError(f"{self.added} of {len(self)} tiles were answered")
        return self._out


class TiledDenoiser:
    """A denoiser for pictures of any height and width, in memory of one picture and one batch of tiles.

    All tiles of all rows have one shape and share batches; see `Tiling` for how a call is cut and `TiledCall` for how
    the answers are put together. When the receptive field is at most the overlap, the result is that of the whole
    picture.

    Args:
        denoiser: answers for tiles.
        tile, overlap: see `Tiling`.
        max_batch: tiles in one call of the denoiser.

    Raises:
        ParameterError: an overlap that is negative or more than half a tile, or no room for a tile.
    """

    def __init__(self, denoiser: Denoiser, tile: int = 256, overlap: int | None = None, max_batch: int = 4) -> None:
        self.denoiser, self.tiling, self.max_batch = denoiser, Tiling(denoiser.info, tile, overlap), max_batch
        if max_batch < 1:
            raise ParameterError(f"an overlap and a batch of at least 1 are needed, not a batch of {max_batch}")

    @property
    def tile(self) -> int:
        """Largest side of a tile."""
        return self.tiling.tile

    @property
    def overlap(self) -> int:
        """Least number of pixels that neighbours share."""
        return self.tiling.overlap

    @property
    def info(self) -> PriorInfo:
        """The wrapped denoiser's facts, without its restrictions on the size."""
        return replace(self.denoiser.info, multiple_of=1, native_size=None)

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Denoise x [N, C, H, W] float32, any H and W, with sigma [N] float32."""
        call = self.tiling.cut(x, sigma)
        while not call.done:
            for answer in self.denoiser(*call.next(self.max_batch)):
                call.add(answer)
        return call.result()
