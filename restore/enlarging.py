"""One enlargement by a prior with a sampler of its own: piece by piece, with less memory where it runs out."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from restore.degradations import Bicubic, bicubic_upsample
from restore.errors import CancelledError, NumericalError, OutOfMemoryError, ParameterError
from restore.images import Picture
from restore.moments import Moments
from restore.prior.enlarger import Enlarger, Enlarging, unfit
from restore.prior.memory import is_out_of_memory, release
from restore.result import Result
from restore.sampling.driver import Progress
from restore.session import describe
from restore.tasks.parameters import Parameters

#: Apart in the seeds of samples: the golden ratio's fraction of 2**64, as in `restore.sampling.protocol.RowNoise`.
_APART = 0x9E3779B97F4A7C15


class Enlargement:
    """A picture, how it will be enlarged, and what came of it; the counterpart of `restore.session.Restoration`.

        enlargement = Enlargement(decode(file), "super-resolve", read_parameters({"steps": 50}), enlarger)
        result = enlargement.finish(run(enlargement))

    Args:
        picture: what is to be enlarged.
        task: super-resolve; others are refused.
        settings: the user's parameters.
        enlarger: the prior.
        fixed_tile: its tile was the user's choice and is not changed when memory runs out.

    Attributes:
        degraded: what was changed for want of memory, such as "tile=32;reason=oom"; None when nothing was.
        warnings: the same in words.

    Raises:
        ParameterError: another task or scale than its own, or a parameter that means nothing to it.
    """

    def __init__(
        self, picture: Picture, task: str, settings: Parameters, enlarger: Enlarger, *, fixed_tile: bool = False
    ) -> None:
        refused = unfit(
            enlarger.info.name, enlarger.scale, task, {f.name: getattr(settings, f.name) for f in fields(settings)}
        )
        if refused is not None:
            raise ParameterError(refused[1])
        self.picture, self.task, self.settings = picture, task, settings
        self.steps = settings.steps or enlarger.steps
        self.degraded: str | None = None
        self.warnings: list[str] = []
        self._enlarger, self._fixed = enlarger, fixed_tile
        self._moments = Moments()

    def work(self) -> Enlarging:
        """All samples, one after the other, counted as one run; returns their mean. May be called again.

        Raises:
            NumericalError: NaN or infinity came out.
            OutOfMemoryError: even the smallest tiles, or those the user asked for, are too large.
        """
        while True:
            try:
                mean = yield from self._samples()
                break
            except Exception as error:
                if not is_out_of_memory(error) or isinstance(error, OutOfMemoryError):
                    raise
            # Outside the except block, whose traceback would keep the tensors alive.
            release("cuda" if torch.cuda.is_available() else "cpu")
            self._shrink()
        if not bool(torch.isfinite(mean.sum())):
            raise NumericalError(f"the prior {self._enlarger.info.name!r} gave NaN or infinity")
        return mean

    def preview(self, estimate: Tensor | None) -> Tensor:
        """The latest estimate; before there is one, cubic interpolation [1, 3, H, W]."""
        return self._interpolated() if estimate is None else estimate

    def residual(self, mean: Tensor) -> float:
        """Root mean square of the difference between the picture given and the result reduced to its size, 0-255 scale.

        Args:
            mean: what `work` returned.
        """
        reduced = Bicubic(self._enlarger.scale, (mean.shape[2], mean.shape[3])).forward(mean)
        return float((reduced - self.picture.image).square().mean().sqrt()) * 127.5

    def finish(self, mean: Tensor, seconds: float = 0.0) -> Result:
        """The enlarged picture and its report.

        Args:
            mean: what `work` returned.
            seconds: to be reported.
        """
        variance, settings = self._moments.variance(), self.settings
        spread = None if variance is None else variance.mean(dim=1, keepdim=True).sqrt() * 127.5
        if settings.strength < 1.0:
            mean = torch.lerp(self._interpolated(), mean, settings.strength)
        report = describe(
            self.task, settings, self._enlarger.info, self.steps * settings.samples, seconds,
            found={}, effective={"steps": self.steps, "fidelity": 0.0, "noise": 0.0},
            warnings=[*self.picture.warnings, *self.warnings],
        )  # fmt: skip
        if self.degraded is not None:
            report["degraded"] = self.degraded
        return Result(mean.clamp(-1.0, 1.0), spread, self.picture, report)

    def _interpolated(self) -> Tensor:
        return bicubic_upsample(self.picture.image, self._enlarger.scale).clamp(-1.0, 1.0)

    def _samples(self) -> Enlarging:
        self._moments, count = Moments(), self.settings.samples
        for index in range(count):
            seed = (self.settings.seed + index * _APART) % (1 << 63)
            enlarging = self._enlarger.enlarge(self.picture.image, steps=self.steps, seed=seed)
            try:
                while True:
                    done = next(enlarging)
                    yield replace(
                        done, step=index * self.steps + done.step, steps=count * self.steps,
                        fraction=(index + done.fraction) / count,
                    )  # fmt: skip
            except StopIteration as stop:
                self._moments.add(stop.value)
            finally:
                enlarging.close()
        return self._moments.mean

    def _shrink(self) -> None:
        tile, smaller = self._enlarger.tile, self._enlarger.smaller()
        if self._fixed or smaller is None:
            asked = "which were asked for; ask for smaller ones" if self._fixed else "the smallest that it can have"
            raise OutOfMemoryError(f"the device has too little memory for tiles of {tile} pixels, {asked}")
        self._enlarger = smaller
        self.degraded = f"tile={smaller.tile};reason=oom"
        self.warnings.append(
            f"the device ran out of memory; the picture was enlarged in tiles of {smaller.tile} of its pixels"
        )


def run(
    enlargement: Enlargement,
    *,
    on_step: Callable[[Progress], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Tensor:
    """Drive one enlargement to its end; the large picture, the mean of its samples.

    Args:
        enlargement: see there.
        on_step: told of every call of the network that is complete.
        cancelled: asked after every tile.

    Raises:
        CancelledError: `cancelled` said so.
        NumericalError, OutOfMemoryError: see `Enlargement.work`.
    """
    work, told = enlargement.work(), 0
    try:
        while True:
            if cancelled is not None and cancelled():
                raise CancelledError(f"cancelled after step {told}")
            done = next(work)
            if on_step is not None and done.step != told:
                preview = enlargement.preview(done.estimate)
                on_step(Progress(done.step - 1, done.steps, done.sigma, preview, done.fraction))
            told = done.step
    except StopIteration as stop:
        mean: Tensor = stop.value
        return mean
    finally:
        work.close()


def enlarge(
    picture: Picture,
    task: str,
    settings: Parameters,
    enlarger: Enlarger,
    *,
    fixed_tile: bool = False,
    **watching: Any,
) -> Result:
    """A picture enlarged by a prior of this kind.

    Args:
        picture: see `Enlargement`.
        task: see there.
        settings: see there.
        enlarger: see there.
        fixed_tile: see there.
        **watching: `on_step` and `cancelled` of `run`.

    Raises:
        ParameterError, CancelledError, NumericalError, OutOfMemoryError: see `Enlargement` and `run`.
    """
    start = time.perf_counter()
    enlargement = Enlargement(picture, task, settings, enlarger, fixed_tile=fixed_tile)
    mean = run(enlargement, **watching)
    return enlargement.finish(mean, time.perf_counter() - start)
