"""Restorer: a prior, and every task as a method."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from restore.enlarging import enlarge
from restore.errors import OutOfMemoryError, ParameterError
from restore.images import ImageSource, decode
from restore.prior.adaptive import AdaptiveTiles, StarvedError
from restore.prior.enlarger import Enlarger
from restore.prior.memory import is_out_of_memory
from restore.prior.protocol import Denoiser
from restore.prior.tiled import TiledDenoiser
from restore.result import Result
from restore.sampling.driver import Progress, run
from restore.session import Restoration, read_parameters
from restore.tasks import TASKS

OnStep = Callable[[Progress], None]
Cancelled = Callable[[], bool]


class Restorer:
    """Restores pictures with one prior.

    When the device runs out of memory a `TiledDenoiser` is given fewer tiles at a time, then smaller ones, and the
    result's report says so ("degraded", "warnings"). A prior that only enlarges (`restore.prior.Enlarger`) serves
    super-resolution by its own scale and refuses anything else.

    Args:
        prior: a denoiser, handed pictures of any size whole, or an enlarger.
        tile: side of the tiles it works in (an enlarger's in pixels of the small picture); when given it is never
            changed, and too little memory is an error. When None a `TiledDenoiser` and an enlarger keep their own, and
            another denoiser is not tiled.

    Raises:
        ParameterError: a tile the prior cannot have.
    """

    def __init__(self, prior: Denoiser | Enlarger, *, tile: int | None = None) -> None:
        self.prior = prior
        self.tile = tile
        if tile is not None:
            self.prior = prior.retiled(tile) if isinstance(prior, Enlarger) else retiled(prior, tile)

    @property
    def denoiser(self) -> Denoiser:
        """The prior.

        Raises:
            ParameterError: it denoises no pictures, but only enlarges them.
        """
        if isinstance(self.prior, Enlarger):
            raise ParameterError(f"the prior {self.prior.info.name!r} only enlarges, {self.prior.scale} times")
        return self.prior

    @classmethod
    def from_pretrained(
        cls, prior: str | None = None, *, device: str = "auto", runtime: str = "auto", tile: int | None = None
    ) -> Restorer:
        """A registered prior; the embedded one by default, in tiles that fit into the device's memory.

        It is loaded once and kept for later calls, within half of the device's memory
        (`restore.prior.release_priors` lets go of it).

        Raises:
            UnknownPriorError, CorruptWeightsError, RuntimeUnavailableError: see `restore.errors`.
            ParameterError: a tile the prior cannot have.
        """
        from restore.prior import shared_prior

        return cls(shared_prior(prior, device=device, runtime=runtime), tile=tile)

    def restore(
        self,
        image: ImageSource,
        task: str = "auto",
        *,
        on_step: OnStep | None = None,
        cancelled: Cancelled | None = None,
        **parameters: Any,
    ) -> Result:
        """Restore one picture.

        Args:
            image: path, bytes, binary file, PIL image, HWC array (uint8, uint16 or float in [0, 1]) or NCHW tensor
                in [0, 1].
            task: one of `restore.tasks.TASKS`.
            on_step: called after each denoiser call with a `Progress`; its `x0` is a preview.
            cancelled: asked before each call; True ends the work with `CancelledError`.
            **parameters: fields of `restore.tasks.parameters.Parameters`.

        Raises:
            RestoreError: one of the typed errors of `restore.errors`.
        """
        with _naming_memory():
            return self._restore(image, task, on_step, cancelled, parameters)

    def _restore(
        self,
        image: ImageSource,
        task: str,
        on_step: OnStep | None,
        cancelled: Cancelled | None,
        parameters: dict[str, Any],
    ) -> Result:
        start = time.perf_counter()
        settings = read_parameters(parameters)
        if task not in TASKS:
            raise ParameterError(f"unknown task {task!r}; known: {', '.join(TASKS)}")
        if isinstance(self.prior, Enlarger):
            return enlarge(
                decode(image), task, settings, self.prior,
                fixed_tile=self.tile is not None, on_step=on_step, cancelled=cancelled,
            )  # fmt: skip
        restoration = Restoration(decode(image), task, settings, self.denoiser.info)
        if not isinstance(self.denoiser, TiledDenoiser):
            mean = run(restoration.sampling(), self.denoiser, on_step=on_step, cancelled=cancelled)
            return restoration.finish(mean, time.perf_counter() - start)
        tiles = AdaptiveTiles(self.denoiser, fixed=self.tile is not None)
        mean = self._sample(restoration, tiles, on_step, cancelled)
        result = restoration.finish(mean, time.perf_counter() - start)
        if tiles.degraded is not None:
            result.report["degraded"] = tiles.degraded
            result.report["warnings"] += tiles.warnings
        return result

    def _sample(
        self, restoration: Restoration, tiles: AdaptiveTiles, on_step: OnStep | None, cancelled: Cancelled | None
    ) -> Tensor:
        """Run the sampler, anew after a tile was too large for the memory."""
        while True:
            try:
                return run(restoration.sampling(), tiles, on_step=on_step, cancelled=cancelled)
            except StarvedError as error:
                starved = StarvedError(error.side)
            tiles.shrink(starved)

    def restore_file(
        self,
        source: str | os.PathLike[str],
        target: str | os.PathLike[str],
        task: str = "auto",
        *,
        keep_gps: bool = False,
        on_step: OnStep | None = None,
        cancelled: Cancelled | None = None,
        **parameters: Any,
    ) -> dict[str, Any]:
        """Restore one file into another, large ones without ever holding the picture where that is possible.

        Denoising at fidelity 1 of PNG, JPEG or TIFF files from 32 megapixels on is done in strips; the report then
        says "streamed". Anything else is what `restore` and `Result.save` do.

        Args:
            source: the picture.
            target: the suffix chooses the format; an existing file is replaced only when the result is complete.
            task: see `restore`.
            keep_gps: keep the place in the metadata.
            on_step: see `restore`; of a streamed picture every band of tiles is a step.
            cancelled: see `restore`.
            **parameters: see `restore`.

        Returns:
            the report, see `Result`.

        Raises:
            RestoreError: one of the typed errors of `restore.errors`.
        """
        from restore import streaming
        from restore.images.formats import format_of

        format_of(target)
        settings = read_parameters(parameters)
        stream = None if isinstance(self.prior, Enlarger) else streaming.open_large(Path(source))
        if stream is not None:
            with closing(stream), _naming_memory():
                if streaming.obstacle(stream, Path(target), task, settings, self.denoiser) is None:
                    assert isinstance(self.denoiser, TiledDenoiser)
                    return streaming.denoise_file(
                        stream, Path(target), settings, self.denoiser, fixed_tile=self.tile is not None,
                        keep_gps=keep_gps, on_step=on_step, cancelled=cancelled,
                    )  # fmt: skip
        result = self.restore(os.fspath(source), task, on_step=on_step, cancelled=cancelled, **parameters)
        result.save(target, keep_gps=keep_gps)
        return result.report

    def denoise(self, image: ImageSource, **options: Any) -> Result:
        """Remove additive noise; `noise` gives its standard deviation (0-255) or "auto"."""
        return self.restore(image, "denoise", **options)

    def super_resolve(self, image: ImageSource, **options: Any) -> Result:
        """Enlarge by `scale` 2, 3, 4 or 8."""
        return self.restore(image, "super-resolve", **options)

    def low_light_enhance(self, image: ImageSource, **options: Any) -> Result:
        """Brighten a dark picture and remove the noise that comes to light."""
        return self.restore(image, "low-light-enhance", **options)

    def deblur(self, image: ImageSource, **options: Any) -> Result:
        """Undo a blur of known `kernel`."""
        return self.restore(image, "deblur", **options)

    def inpaint(self, image: ImageSource, **options: Any) -> Result:
        """Fill in what `mask` marks."""
        return self.restore(image, "inpaint", **options)

    def colorize(self, image: ImageSource, **options: Any) -> Result:
        """Give a grey picture colours."""
        return self.restore(image, "colorize", **options)

    def dejpeg(self, image: ImageSource, **options: Any) -> Result:
        """Remove JPEG artefacts, consistent with the file's own quantisation."""
        return self.restore(image, "dejpeg", **options)


@contextmanager
def _naming_memory() -> Iterator[None]:
    """Turn whatever says that memory ran out into `OutOfMemoryError`."""
    try:
        yield
    except Exception as error:
        if isinstance(error, OutOfMemoryError) or not is_out_of_memory(error):
            raise
        raise OutOfMemoryError("not enough memory for a picture of this size; restore a part of it") from error


def retiled(denoiser: Denoiser, tile: int) -> TiledDenoiser:
    """The denoiser in tiles of another size, overlapping as before where that fits.

    Raises:
        ParameterError: not positive, or not the size of a network that has one only.
    """
    inner, overlap, batch = denoiser, None, 1
    if isinstance(denoiser, TiledDenoiser):
        inner, overlap, batch = denoiser.denoiser, min(denoiser.overlap, max(tile, 0) // 4), denoiser.max_batch
    native = inner.info.native_size
    if native is not None and tile != native:
        raise ParameterError(f"the prior {inner.info.name!r} works in tiles of {native} pixels only, not {tile}")
    if tile < 1:
        raise ParameterError(f"a tile has a side of at least 1 pixel, not {tile}")
    return TiledDenoiser(inner, tile, overlap, batch)
