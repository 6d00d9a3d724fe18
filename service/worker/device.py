"""Answers batches of tiles on one device, and deals with the device's faults."""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from restore.errors import NumericalError
from service.worker.batcher import Batch
from service.worker.config import WorkerConfig
from service.worker.faults import Fault, classify
from service.worker.job import WorkerJob
from service.worker.priors import Prior, Priors

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
    """One tile alone is too much for the device's memory."""


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
    one at a time it has the same bits always, whatever the number of threads, and costs no more (benchmarks/batching).
    Denoisers that declare `batch_invariant` are batched everywhere.

    Args:
        config: the worker's.
        priors: the worker's.
    """

    def __init__(self, config: WorkerConfig, priors: Priors) -> None:
        self._config, self._priors = config, priors
        self._most: dict[str, int] = {}
        self._batches: list[list[Any]] = []
        self._oom = {"recovered": 0, "failed": 0}

    def try_out(self, prior: Prior) -> None:
        """Answer one tiny call for real.

        Raises:
            NumericalError: with garbage.
        """
        side = prior.tiling.info.native_size or -(-32 // prior.tiling.info.multiple_of) * prior.tiling.info.multiple_of
        x = torch.linspace(-1.0, 1.0, side).expand(1, prior.info.channels, side, side).contiguous()
        with torch.no_grad():
            answer = prior.denoiser(x, torch.full((1,), 0.1))
        if answer.shape != x.shape or not bool(torch.isfinite(answer).all()):
            raise NumericalError(f"the prior {prior.info.name!r} answers a tiny picture with garbage")

    def rows(self, job: WorkerJob) -> int:
        """Tiles like this job's that may share a call."""
        assert job.prior is not None
        if self._config.device.startswith("cpu") and not getattr(job.prior.denoiser, "batch_invariant", False):
            return 1
        return self._most.get(job.prior.name, self._config.max_batch)

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
            answers, error = self._call(prior, x, sigma)
            if error is None:
                assert answers is not None
                # The sum is finite exactly when every value is: answers are bounded.
                finite = torch.isfinite(answers.flatten(1).sum(dim=1)).tolist()
                for row, i in enumerate(part):
                    done.tiles[i] = answers[row]
                    if not finite[row]:
                        done.tiles[i] = again = self._again(prior, x[row : row + 1], sigma[row : row + 1])
                        if isinstance(again, Tensor):
                            done.warnings.append((batch.tiles[i][0], "numerical", _REPEATED, _EXACT))
                continue
            kind = classify(error)
            jobs = list(dict.fromkeys(batch.tiles[i][0] for i in part))
            if kind is Fault.FATAL:
                raise DeviceLostError(f"{type(error).__name__}: {error}", jobs) from error
            if kind is Fault.MEMORY:
                self._free_memory()
            if len(part) == 1:
                done.tiles[part[0]] = StarvedError() if kind is Fault.MEMORY else error
                continue
            # Half as many at a time for want of memory; one by one to find out whose fault an error is.
            size = -(-len(part) // 2) if kind is Fault.MEMORY else 1
            parts = [part[i : i + size] for i in range(0, len(part), size)] + parts
            if kind is Fault.MEMORY:
                self._most[prior.name] = size
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

    def _call(self, prior: Prior, x: Tensor, sigma: Tensor) -> tuple[Tensor | None, Exception | None]:
        """One denoiser call. Errors are returned, not raised: what follows must not run inside an except block, whose
        traceback would keep the call's tensors alive."""
        start = time.perf_counter()
        try:
            answer = prior.denoiser(x, sigma)
        except Exception as error:
            return None, error.with_traceback(None)
        self._batches.append([len(x), time.perf_counter() - start, prior.info.name, prior.runtime])
        return answer, None

    def _again(self, prior: Prior, x: Tensor, sigma: Tensor) -> Tensor | Exception:
        """The answer to one tile whose first was NaN or infinite: once more, in float32."""
        level = f"at sigma {float(sigma):.4g}"
        if not bool(torch.isfinite(x.sum())):
            return NumericalError(f"the data step before the call {level} gave NaN or infinity")
        exact = self._priors.exact(prior)
        if exact is not None:
            answer, error = self._call(exact, x, sigma)
            if error is not None:
                return error
            assert answer is not None
            if bool(torch.isfinite(answer.sum())):
                return answer[0]
        return NumericalError(f"the prior {prior.info.name!r} gave NaN or infinity {level}, and again in float32")

    def _free_memory(self) -> None:
        gc.collect()
        if self._config.device.startswith("cuda"):
            torch.cuda.empty_cache()
