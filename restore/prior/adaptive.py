"""Tiles that become fewer at a time, then smaller, when a device runs out of memory."""

from __future__ import annotations

from torch import Tensor

from restore.errors import OutOfMemoryError
from restore.prior.memory import is_out_of_memory, release
from restore.prior.protocol import Denoiser, PriorInfo
from restore.prior.tiled import TiledCall, TiledDenoiser, Tiling


class StarvedError(Exception):
    """One tile alone was too much for the device's memory.

    Args:
        side: the longer one of the tile.
    """

    def __init__(self, side: int) -> None:
        super().__init__(f"out of memory with one tile of {side} pixels")
        self.side = side


class AdaptiveTiles:
    """The tiles of one restoration.

    A call that runs out of memory is repeated with half as many tiles at a time: the answer stays the same, but for
    the last bits. When one tile is too much, `StarvedError` ends the run; after `shrink` the sampler must start anew,
    since another grid of tiles has other answers.

    Args:
        tiled: how the work begins.
        fixed: the tile was the user's choice and is not changed.
        denoiser: answers for tiles instead of the tiled one's own.

    Attributes:
        tiling: how calls are cut now.
        degraded: what was changed for want of memory, such as "tile=256;reason=oom"; None when nothing was.
        warnings: the same in words.
    """

    def __init__(self, tiled: TiledDenoiser, *, fixed: bool = False, denoiser: Denoiser | None = None) -> None:
        self._denoiser: Denoiser = tiled.denoiser if denoiser is None else denoiser
        self.tiling: Tiling = tiled.tiling
        self._batch, self._fixed = tiled.max_batch, fixed
        self.info: PriorInfo = tiled.info
        self.degraded: str | None = None
        self.warnings: list[str] = []

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Denoise x [N, C, H, W] float32, any H and W, with sigma [N] float32.

        Raises:
            StarvedError: one tile alone is too much.
        """
        call = self.tiling.cut(x, sigma)
        self.answer(call)
        return call.result()

    def answer(self, call: TiledCall) -> None:
        """Denoise the tiles of a call.

        Raises:
            StarvedError: one tile alone is too much.
        """
        while not call.done:
            count = min(self._batch, len(call) - call.added)
            error = self._answer(call, count)
            if error is None:
                continue
            if not is_out_of_memory(error):
                raise error
            # Outside the except block, whose traceback would keep the call's tensors alive.
            release(call.device)
            if count == 1:
                raise StarvedError(max(call.shape))
            self._batch = -(-count // 2)
            self._note(
                f"batch={self._batch};reason=oom",
                f"the device ran out of memory; it now takes {self._batch} tiles at a time",
            )

    def shrink(self, starved: StarvedError) -> None:
        """Take tiles of half the side from now on.

        Raises:
            OutOfMemoryError: the tile was the user's choice, or cannot be smaller.
        """
        if self._fixed:
            raise OutOfMemoryError(
                f"the device has too little memory for tiles of {starved.side} pixels, which were asked for; ask for "
                "smaller ones, or for none to have them chosen"
            )
        smaller = self.tiling.smaller(starved.side)
        if smaller is None:
            raise OutOfMemoryError(f"the device has too little memory for a single tile of {starved.side} pixels")
        self.tiling = smaller
        self._note(
            f"tile={smaller.tile};reason=oom",
            f"the device ran out of memory; the picture was restored in tiles of {smaller.tile} pixels",
        )

    def _answer(self, call: TiledCall, count: int) -> Exception | None:
        """Denoise the next tiles; an error is returned, not raised."""
        try:
            answers = self._denoiser(*call.next(count))
        except Exception as error:
            return error.with_traceback(None)
        for answer in answers:
            call.add(answer)
        return None

    def _note(self, degraded: str, warning: str) -> None:
        self.degraded = degraded
        self.warnings.append(warning)
