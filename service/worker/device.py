"""Answers batches of tiles on one device, and deals with the device's faults."""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from restore.enlarging import enlarge
from restore.errors import NumericalError
from restore.images import Picture
from restore.prior.enlarger import TASK
from restore.tasks.parameters import Parameters
from service.worker.batcher import Batch
from service.worker.config import WorkerConfig
from service.worker.faults import Fault, classify
from service.worker.job import WorkerJob
from service.worker.priors import EnlargingPrior, Loaded, Prior, Priors

_REPEATED = "the prior gave NaN or infinity for a tile, which was computed again in float32"
_EXACT = "precision=float32;reason=nan"


class DeviceLostError(Exception):
    """The process can no longer be trusted and must end.

    Args:
        message: what happened, for the log.
        jobs: those it worked on.
        reason: of the `interrupted` event.
    """

    def __init__(self, message: str, jobs: list[WorkerJob], reason: str = "device") -> None:
        super().__init__(message)
        self.jobs, self.reason = jobs, reason


class StarvedError(Exception):
    """A call is too much for the device's memory."""


@dataclass(frozen=True)
class _Rows:
    """What a denoiser answered, [N, C, h, w], and which of its rows are finite."""

    values: Tensor
    finite: list[bool]


@dataclass
class Answers:
    """What came of a batch.

    Attributes:
        tiles: in the batch's order, [C, h, w] or what went wrong.
        warnings: (job, code, message, degraded) of each job whose tiles were computed otherwise than planned.
    """

    tiles: list[Tensor | Exception]
    warnings: list[tuple[WorkerJob, str, str, str]] = field(default_factory=list)


class Device:
    """One device with the priors loaded on it. Belongs to the step loop.

    On a CPU a denoiser call holds one tile. The libraries choose their kernels by the size of the batch, so that a
    tile's float32 answer would have other last bits in company (measured: 2e-6 between batches of one and of eight);
    one at a time it has the same bits always, whatever the number of threads.
    Denoisers that declare `batch_invariant` are batched everywhere.

    Args:
        config: the worker's.
        priors: the worker's.
    """

    def __init__(self, config: WorkerConfig, priors: Priors) -> None:
        self._config, self._priors = config, priors
        self._most: dict[str, int] = {}  # pixels of one call of a prior, once memory was too little for more
        self._batches: list[list[Any]] = []
        self._oom = {"recovered": 0, "failed": 0}

    def try_out(self, prior: Loaded) -> None:
        """Answer one tiny call for real.

        Raises:
            NumericalError: with garbage.
        """
        with torch.no_grad():
            answer = self._tiny(prior)
        if not bool(torch.isfinite(answer).all()):
            raise NumericalError(f"the prior {prior.info.name!r} answers a tiny picture with garbage")

    @staticmethod
    def _tiny(prior: Loaded) -> Tensor:
        if isinstance(prior, EnlargingPrior):
            picture = Picture(torch.zeros(1, 3, 8, 8), "rgb", 8, None)
            return enlarge(picture, TASK, Parameters(steps=1, scale=prior.enlarger.scale), prior.enlarger).tensor
        side = prior.tiling.info.native_size or -(-32 // prior.tiling.info.multiple_of) * prior.tiling.info.multiple_of
        x = torch.linspace(-1.0, 1.0, side).expand(1, prior.info.channels, side, side).contiguous()
        answer = prior.denoiser(x, torch.full((1,), 0.1))
        if answer.shape != x.shape:
            raise NumericalError(f"the prior {prior.info.name!r} answers a tiny picture with one of another size")
        return answer

    def rows(self, job: WorkerJob) -> int:
        """Tiles like this job's that may share a call."""
        assert job.prior is not None and job.tiles is not None
        if self._config.device.startswith("cpu") and not getattr(job.prior.denoiser, "batch_invariant", False):
            return 1
        most = self._most.get(job.prior.name)
        if most is None:
            return self._config.max_batch
        height, width = job.tiles.shape
        return max(1, min(self._config.max_batch, most // (height * width)))

    def answer(self, batch: Batch) -> Answers:
        """Denoise the tiles of a batch. After running out of memory, half as many at a time.

        Raises:
            DeviceLostError: a fatal fault of the device.
        """
        prior = batch.jobs[0].prior
        assert prior is not None
        inputs = [job.tiles.tile(index) for job, index in batch.tiles if job.tiles is not None]
        done = Answers([StarvedError()] * len(inputs))
        parts = [list(range(len(inputs)))]
        while parts:
            part = parts.pop(0)
            x, sigma = torch.cat([inputs[i][0] for i in part]), torch.cat([inputs[i][1] for i in part])
            jobs = list(dict.fromkeys(batch.tiles[i][0] for i in part))
            answers, error = self._call(prior, x, sigma, jobs)
            if answers is not None:
                for row, i in enumerate(part):
                    done.tiles[i] = answers.values[row]
                    if not answers.finite[row]:
                        done.tiles[i] = again = self._again(prior, x[row : row + 1], sigma[row : row + 1], jobs)
                        if isinstance(again, Tensor):
                            done.warnings.append((batch.tiles[i][0], "numerical", _REPEATED, _EXACT))
                continue
            assert error is not None
            if len(part) == 1:
                done.tiles[part[0]] = error
                continue
            # Half as many at a time for want of memory; one by one to find out whose fault an error is.
            starved = isinstance(error, StarvedError)
            size = -(-len(part) // 2) if starved else 1
            parts = [part[i : i + size] for i in range(0, len(part), size)] + parts
            if starved:
                self._most[prior.name] = size * x.shape[2] * x.shape[3]
                self.count_oom(recovered=True)
                text = f"the device ran out of memory; it now takes {size} tiles at a time"
                done.warnings += [(job, "out_of_memory", text, f"batch={size};reason=oom") for job in jobs]
        return done

    def count_oom(self, *, recovered: bool) -> None:
        """For the metrics: the device ran out of memory, and the work went on or failed."""
        self._oom["recovered" if recovered else "failed"] += 1

    def report(self) -> dict[str, Any] | None:
        """What was done since the last report, as `service.observability.metrics.Metrics.absorb` takes it."""
        if not self._batches and not any(self._oom.values()):
            return None
        report: dict[str, Any] = {"batches": self._batches, "oom": self._oom}
        if self._config.device.startswith("cuda"):
            report["memory"] = {self._config.device: torch.cuda.memory_allocated(self._config.device)}
        self._batches, self._oom = [], {"recovered": 0, "failed": 0}
        return report

    def _call(
        self, prior: Prior, x: Tensor, sigma: Tensor, jobs: list[WorkerJob]
    ) -> tuple[_Rows | None, Exception | None]:
        """One denoiser call. Errors are returned, not raised: what follows must not run inside an except block, whose
        traceback would keep the call's tensors alive.

        Raises:
            DeviceLostError: a fatal fault of the device.
        """
        start = time.perf_counter()
        try:
            values = prior.denoiser(x, sigma)
            # The sum is finite exactly when every value is: answers are bounded. Asked here, where the device's errors
            # are caught, for those of its queued work come up when somebody looks.
            rows = _Rows(values, torch.isfinite(values.flatten(1).sum(dim=1)).tolist())
        except Exception as caught:
            error = caught.with_traceback(None)
        else:
            self._batches.append([len(x), time.perf_counter() - start, prior.info.name, prior.runtime])
            return rows, None
        return None, self._judged(error, jobs)

    def _judged(self, error: Exception, jobs: list[WorkerJob]) -> Exception:
        """The error of a call, or that its memory was too little.

        Raises:
            DeviceLostError: it was a fatal fault of the device.
        """
        kind = classify(error)
        if kind is Fault.FATAL:
            raise DeviceLostError(f"{type(error).__name__}: {error}", jobs) from error
        if kind is Fault.MEMORY:
            self._free_memory()
            return StarvedError()
        return error

    def _again(self, prior: Prior, x: Tensor, sigma: Tensor, jobs: list[WorkerJob]) -> Tensor | Exception:
        """The answer to one tile whose first was NaN or infinite: once more, in float32."""
        level = f"at sigma {float(sigma):.4g}"
        if not bool(torch.isfinite(x.sum())):
            return NumericalError(f"the data step before the call {level} gave NaN or infinity")
        try:
            exact = self._priors.exact(prior)
        except Exception as caught:
            failed = caught.with_traceback(None)
        else:
            if exact is not None:
                rows, error = self._call(exact, x, sigma, jobs)
                if error is not None:
                    return error
                if rows is not None and rows.finite[0]:
                    return rows.values[0]
            return NumericalError(f"the prior {prior.info.name!r} gave NaN or infinity {level}, and again in float32")
        return self._judged(failed, jobs)

    def _free_memory(self) -> None:
        gc.collect()
        if self._config.device.startswith("cuda"):
            torch.cuda.empty_cache()
