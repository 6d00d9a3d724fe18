"""Denoising a file too large to be held: decoded, restored and encoded in strips.

Pure denoising is local: one call of the prior for a picture, or a few for its orientations, and no data step. Every
other task needs the whole picture at once.
"""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from restore.errors import CancelledError, NumericalError, RestoreError
from restore.images.picture import colourless
from restore.images.raster import Samples
from restore.images.streams import PictureStream, RowWriter, obstacle_to_writing
from restore.prior.adaptive import AdaptiveTiles, StarvedError
from restore.prior.bands import denoise_in_bands
from restore.prior.protocol import Denoiser, PriorInfo
from restore.prior.tiled import TiledDenoiser
from restore.sampling.driver import Progress
from restore.sampling.ensemble import oriented, upright
from restore.session import describe
from restore.tasks import TASKS
from restore.tasks.parameters import Parameters
from restore.tasks.plan import Plan, Source

#: From here on files are streamed where that is possible: a picture of 32 megapixels takes about 2 GiB otherwise.
STREAM_PIXELS = 32_000_000
#: The noise is estimated in this many windows of this side, spread evenly in rows and columns; the median counts.
WINDOWS, WINDOW = 3, 1024


class OrientedDenoiser:
    """A prior's mean answer over orientations of each tile: what `restore.sampling.self_ensemble` is for pictures.

    Args:
        denoiser: answers for tiles of either orientation.
        steps: orientations, 1 to 8.
    """

    def __init__(self, denoiser: Denoiser, steps: int) -> None:
        self._denoiser, self._steps = denoiser, steps

    @property
    def info(self) -> PriorInfo:
        """The prior's."""
        return self._denoiser.info

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Denoise."""
        if self._steps == 1:
            return self._denoiser(x, sigma)
        total = torch.zeros_like(x)
        for orientation in range(self._steps):
            total += upright(self._denoiser(oriented(x, orientation), sigma), orientation)
        return total / self._steps


def open_large(path: Path) -> PictureStream | None:
    """A file of `STREAM_PIXELS` or more, opened; None for smaller ones and what cannot be opened this way.

    What is wrong with a file is said by who decodes it.
    """
    try:
        stream = PictureStream(path)
    except (RestoreError, OSError, ValueError):
        return None
    if stream.readable and stream.picture.height * stream.picture.width >= STREAM_PIXELS:
        return stream
    stream.close()
    return None


def obstacle(stream: PictureStream, target: Path, task: str, settings: Parameters, denoiser: Denoiser) -> str | None:
    """Why a file cannot be restored in strips; None when it can."""
    if task != "denoise" or settings.effective_fidelity < 1.0 or settings.samples > 1:
        return "only denoising at fidelity 1 is done strip by strip"
    if not isinstance(denoiser, TiledDenoiser):
        return "the prior is not tiled"
    if stream.obstacle is not None:
        return stream.obstacle
    if max(stream.picture.height, stream.picture.width) <= denoiser.tile:
        return "the picture fits into one tile"
    return obstacle_to_writing(stream.picture, target)


def denoise_file(
    stream: PictureStream,
    target: Path,
    settings: Parameters,
    denoiser: TiledDenoiser,
    *,
    fixed_tile: bool = False,
    keep_gps: bool = False,
    on_step: Callable[[Progress], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> dict[str, Any]:
    """Denoise an opened file into another; `obstacle` has found nothing against it.

    Args:
        stream: the source.
        target: replaced when the result is complete.
        settings: the user's parameters.
        denoiser: the prior.
        fixed_tile: its tile was the user's choice.
        keep_gps: keep the place in the metadata.
        on_step: told of every band of tiles; its `x0` is the band's finished rows.
        cancelled: asked before every band.

    Returns:
        the report, see `restore.result.Result`, with "streamed": True.

    Raises:
        CancelledError, NumericalError, OutOfMemoryError, OutputError, UndecodableImageError: see `restore.errors`.
    """
    start = time.perf_counter()
    plan, warnings = _plan(stream, settings, denoiser.info)
    sigma = plan.degradation.noise.variance(plan.y).sqrt().flatten()
    steps = int(plan.effective["steps"])
    tiles = AdaptiveTiles(denoiser, fixed=fixed_tile, denoiser=OrientedDenoiser(denoiser.denoiser, steps))
    with RowWriter(stream.picture, target, keep_gps=keep_gps) as writer:
        while True:
            try:
                with torch.no_grad():
                    _restore_rows(stream, writer, sigma, settings.strength, tiles, on_step, cancelled)
                break
            except StarvedError as error:
                starved = StarvedError(error.side)
            tiles.shrink(starved)
            writer.restart()
        warnings += writer.finish()
    report = describe(
        "denoise", settings, denoiser.info, steps, time.perf_counter() - start,
        found=plan.found, effective=plan.effective,
        warnings=[*stream.picture.warnings, *plan.warnings, *warnings, *tiles.warnings],
    )  # fmt: skip
    report["streamed"] = True
    if tiles.degraded is not None:
        report["degraded"] = tiles.degraded
    return report


def _plan(stream: PictureStream, settings: Parameters, prior: PriorInfo) -> tuple[Plan, list[str]]:
    """How to denoise, and a warning when the noise had to be estimated from a part of the picture."""
    windows = _windows(stream)
    grey = stream.picture.grey or all(colourless(window) for window in windows)
    if settings.noise != "auto":
        return TASKS["denoise"](Source(windows[0], grey), settings, prior), []
    plans = [TASKS["denoise"](Source(window, grey), settings, prior) for window in windows]
    levels = [float(plan.found["noise"]) for plan in plans]
    chosen = plans[levels.index(statistics.median_low(levels))]
    return chosen, [f"the picture is large: its noise was estimated in {len(plans)} windows of it"]


def _windows(stream: PictureStream) -> list[Tensor]:
    """Windows of the picture [1, 3, h, w], spread evenly."""
    picture = stream.picture
    height, width = min(WINDOW, picture.height), min(WINDOW, picture.width)
    tops = _spread(picture.height, height)
    lefts = _spread(picture.width, width)
    rows: dict[int, list[Samples]] = {top: [] for top in tops}
    at = 0
    for samples, _ in stream.strips():
        for top in tops:
            inside = samples[max(top - at, 0) : max(top + height - at, 0)]
            if len(inside):
                rows[top].append(np.concatenate([inside[:, left : left + width] for left in lefts], axis=1))
        at += len(samples)
    bands = [np.concatenate(rows[top]) for top in tops]
    return [stream.core(band[:, i * width : (i + 1) * width]) for band in bands for i in range(len(lefts))]


def _spread(length: int, window: int) -> list[int]:
    return sorted({round(i * (length - window) / (WINDOWS - 1)) for i in range(WINDOWS)})


def _restore_rows(
    stream: PictureStream,
    writer: RowWriter,
    sigma: Tensor,
    strength: float,
    tiles: AdaptiveTiles,
    on_step: Callable[[Progress], None] | None,
    cancelled: Callable[[], bool] | None,
) -> None:
    """Every row through the prior and into the writer."""
    picture = stream.picture
    waiting = _Waiting()

    def cores() -> Iterator[Tensor]:
        for samples, alpha in stream.strips():
            waiting.push(samples, alpha)
            yield stream.core(samples)

    size = (picture.height, picture.width)
    bands = len(tiles.tiling.bands(*size, float(sigma)))
    restored = denoise_in_bands(cores(), size, sigma, tiles.tiling, tiles.answer)
    for index in range(bands):
        if cancelled is not None and cancelled():
            raise CancelledError(f"cancelled before band {index + 1} of {bands}")
        rows = next(restored)
        if not bool(torch.isfinite(rows.sum())):
            raise NumericalError("the prior gave NaN or infinity; the noise level is likely out of range")
        if on_step is not None:
            on_step(Progress(index, bands, float(sigma), rows, (index + 1) / bands))
        for part, samples, alpha in waiting.pop(rows):
            core = stream.core(samples)
            blended = part if strength == 1.0 else torch.lerp(core, part, strength)
            writer.add(blended.clamp(-1.0, 1.0), core, samples, alpha)


class _Waiting:
    """The file's own rows until the restored ones are there."""

    def __init__(self) -> None:
        self._strips: deque[tuple[Samples, Samples | None]] = deque()

    def push(self, samples: Samples, alpha: Samples | None) -> None:
        self._strips.append((samples, alpha))

    def pop(self, rows: Tensor) -> Iterator[tuple[Tensor, Samples, Samples | None]]:
        """Pieces of restored rows with the file's."""
        at = 0
        while at < rows.shape[-2]:
            samples, alpha = self._strips.popleft()
            count = min(len(samples), rows.shape[-2] - at)
            yield rows[..., at : at + count, :], samples[:count], None if alpha is None else alpha[:count]
            if count < len(samples):
                self._strips.appendleft((samples[count:], None if alpha is None else alpha[count:]))
            at += count
