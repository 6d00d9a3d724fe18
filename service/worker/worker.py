"""DeviceWorker: one device, its step loop, and the pools that decode and encode beside it."""

from __future__ import annotations

import gc
import logging
import queue
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from restore.errors import NumericalError
from restore.prior.enlarger import EnlargingStep
from restore.sampling.protocol import DenoiserCall
from service.blobs import BlobStore
from service.engine.protocol import Ticket
from service.observability.logs import bound
from service.problems import Code
from service.worker import stages
from service.worker.batcher import Batch, Batcher
from service.worker.beside import Beside, Pool, Then
from service.worker.config import WorkerConfig
from service.worker.device import Device, DeviceLostError, StarvedError
from service.worker.faults import Fault, classify, failure
from service.worker.job import Key, WorkerJob
from service.worker.priors import Priors

logger = logging.getLogger(__name__)

Say = Callable[[dict[str, Any]], None]

#: The step loop speaks at least so often, and tells no job of more progress, nor shows it more previews, than this.
BEAT_SECONDS, PROGRESS_SECONDS, PREVIEW_SECONDS = 1.0, 0.2, 0.5
#: Values of a picture up to which a sampler's own work (data step, re-noising) is done in the step loop: some 10 ms
#: for 0.7 megapixels on one core. Larger ones go to a pool, so that others' tiles need not wait.
INLINE_VALUES = 1 << 21
#: Part of a call's time for which the device may stand idle, so that a small picture that is just being decoded or
#: encoded need not wait for another's tile.
PATIENCE = 0.05


class DeviceWorker:
    """Runs tickets on one device.

    One thread, in `serve`, owns every job: pools work on a job only while the loop does not, and hand it back through
    the inbox. `submit`, `cancel` and `stop` may be called from any thread.

    Args:
        config: see there.
        blobs: where inputs and results lie.
        say: receives the messages of `service.engine.supervisor`; called from the thread of `serve` only.
    """

    def __init__(self, config: WorkerConfig, blobs: BlobStore, say: Say) -> None:
        self._config, self._blobs, self._say = config, blobs, say
        self._priors = Priors(config)
        self._device = Device(config, self._priors)
        self._batcher = Batcher()
        self._jobs: dict[Key, WorkerJob] = {}
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._beside = Beside(
            self._inbox, lambda: self._announce(None), self._back, single=config.device.startswith("cpu")
        )
        self._stopped = False
        self._beaten = self._patience = 0.0

    # From any thread.

    def submit(self, ticket: Ticket) -> None:
        """Take a ticket."""
        self._inbox.put(lambda: self._accept(WorkerJob(ticket)))

    def cancel(self, key: Key) -> None:
        """Stop a ticket before its next tile; without effect when it has ended."""
        self._inbox.put(lambda: self._cancel(key))

    def stop(self) -> None:
        """Make `serve` return."""
        self._inbox.put(self._stop)

    # The step loop.

    def warm_up(self) -> None:
        """Load the default prior and answer one tiny call for real.

        Raises:
            PriorError, NumericalError, ...: the device or the prior cannot be used.
        """
        self._device.try_out(self._priors.get(None))
        gc.collect()  # what start-up left is looked at here for the last time

    def serve(self) -> None:
        """Work until stopped.

        Raises:
            DeviceLostError: whatever this process computes from now on may be wrong; it must end.
        """
        self._say({"say": "ready"})
        # Memory that has run out is looked for in cycles of objects, once a failed call. Those that are here now, torch
        # and all it brings, would make each look take 0.1 to 0.4 s, and they stay as long as this loop runs.
        gc.freeze()
        try:
            with torch.no_grad():
                while not self._stopped:
                    self._handle_inbox()
                    batch = self._batcher.next(self._device.rows)
                    self._beat(batch)
                    if batch is not None:
                        self._compute(batch)
        finally:
            gc.unfreeze()
            self._beside.close()

    def _handle_inbox(self) -> None:
        """Do what has come; wait for it, but not beyond the next beat, when no tile is pending.

        With tiles pending, wait for pools that have just begun, but a small part of a call at most: a small picture is
        decoded or encoded by then, and would wait for all of a large one's next tile otherwise.
        """
        deadline = time.monotonic() + self._patience
        wait = BEAT_SECONDS if not len(self._batcher) else self._beside.young(self._patience)
        while True:
            try:
                action = self._inbox.get(block=wait > 0.0, timeout=wait)
                while True:
                    action()
                    action = self._inbox.get_nowait()
            except queue.Empty:
                pass
            wait = min(self._beside.young(self._patience), deadline - time.monotonic())
            if wait <= 0.0 or not len(self._batcher):
                return

    def _beat(self, batch: Batch | None) -> None:
        """Say that the loop lives and which jobs would be suspected if this process died now."""
        now = time.monotonic()
        if batch is None and now - self._beaten < BEAT_SECONDS:
            return
        self._announce(batch)
        if now - self._beaten >= BEAT_SECONDS:
            self._beaten = now
            if (report := self._device.report()) is not None:
                self._say({"say": "report", "report": report})
            if stuck := self._beside.stuck(self._config.stage_seconds):
                raise DeviceLostError("decoding, encoding or a data step does not come to an end", stuck, "hang")

    def _announce(self, batch: Batch | None) -> None:
        working = dict.fromkeys([*self._beside.jobs, *(batch.jobs if batch is not None else ())])
        self._say({"say": "beat", "jobs": [list(job.key) for job in working]})

    def _accept(self, job: WorkerJob) -> None:
        self._jobs[job.key] = job
        limits = self._config.limits
        self._beside.do("decode", job, lambda: stages.prepare(job, self._blobs, self._priors, limits), self._begin)
        self._emit(job, "started", {"device": self._config.device})  # while it is being decoded

    def _begin(self, job: WorkerJob, _: None) -> None:
        if job.enlargement is not None:
            job.enlarging, job.sampling_since = job.enlargement.work(), time.monotonic()
            self._enlarge(job)
            return
        assert job.restoration is not None
        job.sampling, job.sampling_since = job.restoration.sampling(), time.monotonic()
        self._advance(job, None)

    def _advance(self, job: WorkerJob, x0: Tensor | None) -> None:
        """Let a job's sampler do its own work until it asks for the next call, or ends."""
        assert job.restoration is not None
        large = job.restoration.picture.image.numel() > INLINE_VALUES
        if large:
            self._beside.do("data step", job, lambda: _next_call(job, x0), self._pend)
            return
        try:
            call = _next_call(job, x0)
        except Exception as error:
            self._trouble(job, error)
        else:
            self._pend(job, call)

    def _pend(self, job: WorkerJob, call: DenoiserCall | Tensor) -> None:
        """The sampler's next call waits for its turn; its result, for being encoded."""
        if isinstance(call, DenoiserCall):
            assert job.tiling is not None
            job.call, job.tiles, job.next_tile = call, job.tiling.cut(call.x, call.sigma), 0
            self._batcher.add(job)
            return
        self._finish(job, call)

    def _finish(self, job: WorkerJob, mean: Tensor) -> None:
        """The restoration is done: its result waits for being encoded."""
        job.seconds["restore"] = time.monotonic() - job.sampling_since
        job.close()
        self._beside.do("encode", job, lambda: stages.complete(job, mean, self._blobs), self._succeed)

    def _enlarge(self, job: WorkerJob) -> None:
        """Let a prior with a sampler of its own do its next tile; jobs take turns, and none is done once canceled."""
        self._beside.do("enlarge", job, lambda: _next_tile(job), self._enlarged)

    def _enlarged(self, job: WorkerJob, done: EnlargingStep | Tensor) -> None:
        """Tell how far a job is and go on with it, or encode its result."""
        enlargement = job.enlargement
        assert enlargement is not None
        if enlargement.degraded is not None:
            self._degrade(job, "out_of_memory", enlargement.warnings[-1], enlargement.degraded)
        if isinstance(done, Tensor):
            self._finish(job, done)
            return
        now = time.monotonic()
        if now - job.told_at >= PROGRESS_SECONDS or done.step == done.steps:
            job.told_at = now
            told = {"step": done.step, "steps": done.steps, "sigma": done.sigma}
            self._emit(job, "progress", told | {"fraction": round(done.fraction, 4)})
        estimate = done.estimate
        if job.ticket.previews and estimate is not None and estimate is not job.shown:
            job.shown = estimate
            if not self._show(job, lambda: estimate, done.step, done.steps):
                return
        self._enlarge(job)

    def _compute(self, batch: Batch) -> None:
        """Answer a batch of tiles; each job gets its own answers, or its own trouble."""
        begun = time.monotonic()
        done = self._device.answer(batch)
        self._patience = PATIENCE * (time.monotonic() - begun)
        for job, code, message, degraded in done.warnings:
            self._degrade(job, code, message, degraded)
        troubled: dict[WorkerJob, Exception] = {}
        for (job, _), answer in zip(batch.tiles, done.tiles, strict=True):
            if isinstance(answer, Exception):
                troubled.setdefault(job, answer)
            elif job not in troubled:
                assert job.tiles is not None
                job.tiles.add(answer)
        for job in batch.jobs:
            error = troubled.get(job)
            if error is None:
                self._progress(job)
            elif isinstance(error, StarvedError):
                self._shrink(job)
            else:
                self._trouble(job, error)

    def _progress(self, job: WorkerJob) -> None:
        """After a batch: tell how far a job is; with all tiles of its call answered, let its sampler go on."""
        call, tiles = job.call, job.tiles
        assert call is not None and tiles is not None
        now, step = time.monotonic(), call.step + tiles.done
        if now - job.told_at >= PROGRESS_SECONDS or step == call.steps:
            job.told_at = now
            told = {"step": step, "steps": call.steps, "sigma": float(call.sigma.max())}
            fraction = call.fraction(tiles.added / len(tiles))
            self._emit(job, "progress", told | {"fraction": round(fraction, 4)})
        if tiles.done:
            x0 = tiles.result()
            if job.ticket.previews and now - job.shown_at >= PREVIEW_SECONDS:
                job.shown_at = now
                assert job.restoration is not None
                finish = job.restoration.plan.finish
                if not self._show(job, lambda: finish(x0[:1]), call.step + 1, call.steps):
                    return
            job.call = job.tiles = None
            self._advance(job, x0)

    def _show(self, job: WorkerJob, picture: Callable[[], Tensor], step: int, steps: int) -> bool:
        """Send a preview; False when that ended the job."""
        try:
            shown = stages.preview(picture(), step, steps)
        except Exception as error:
            self._trouble(job, error)
            return False
        self._emit(job, "preview", shown)
        return True

    def _shrink(self, job: WorkerJob) -> None:
        """One tile was too much for the memory: sample anew with tiles of half the side."""
        assert job.tiles is not None and job.tiling is not None
        smaller = job.tiling.smaller(max(job.tiles.shape))
        self._device.count_oom(recovered=smaller is not None)
        if smaller is None:
            self._end(job, "failed", _error(Code.OUT_OF_MEMORY, "the device has too little memory for a single tile"))
            return
        text = f"the device ran out of memory; the picture was restored in tiles of {smaller.tile} pixels"
        self._degrade(job, "out_of_memory", text, f"tile={smaller.tile};reason=oom")
        self._batcher.remove(job)
        job.restart(smaller)
        self._advance(job, None)

    def _degrade(self, job: WorkerJob, code: str, message: str, degraded: str) -> None:
        """Remember and tell, once, that the work ran otherwise than planned."""
        if job.fall_back(degraded):
            job.warnings.append({"code": code, "message": message})
            self._emit(job, "warning", job.warnings[-1])

    # Beside the loop.

    def _back(self, job: WorkerJob, pool: Pool, value: Any, error: Exception | None, then: Then) -> None:
        """A job is back from a pool."""
        if job.ended:  # it was canceled meanwhile
            job.close()
            if pool == "encode" and error is None:
                self._discard(value["outputs"])
        elif error is not None:
            self._trouble(job, error)
        else:
            then(job, value)

    def _discard(self, outputs: dict[str, str]) -> None:
        """Delete what nobody will ask for."""

        def delete() -> None:
            for reference in outputs.values():
                self._blobs.delete(reference)

        self._beside.tidy(delete)

    # How it ends.

    def _succeed(self, job: WorkerJob, outcome: dict[str, Any]) -> None:
        outcome["metrics"] |= {stage: round(seconds, 6) for stage, seconds in job.seconds.items()}
        self._end(job, "succeeded", outcome)

    def _trouble(self, job: WorkerJob, error: Exception) -> None:
        """An error ends its job, or, when the device is lost over it, this process.

        Raises:
            DeviceLostError: the latter.
        """
        if classify(error) is Fault.FATAL:
            raise DeviceLostError(f"{type(error).__name__}: {error}", [job]) from error
        self._fail(job, error)

    def _fail(self, job: WorkerJob, error: Exception) -> None:
        code, message = failure(error)
        with bound(job=job.ticket.job_id, request=job.ticket.request_id):
            expected = code not in (Code.INTERNAL, Code.OUT_OF_MEMORY, Code.NUMERICAL)
            logger.log(
                logging.INFO if expected else logging.ERROR, "job failed: %s", message,
                exc_info=None if expected else error,
            )  # fmt: skip
        self._end(job, "failed", _error(code, message))

    def _cancel(self, key: Key) -> None:
        job = self._jobs.get(key)
        if job is not None:
            self._end(job, "canceled", {})

    def _end(self, job: WorkerJob, type: str, data: dict[str, Any]) -> None:
        job.ended = True
        self._batcher.remove(job, forget=True)
        del self._jobs[job.key]
        if job not in self._beside.jobs:
            job.close()
        self._emit(job, type, data)

    def _emit(self, job: WorkerJob, type: str, data: dict[str, Any]) -> None:
        self._say(job.event(type, data))

    def _stop(self) -> None:
        self._stopped = True


def _next_call(job: WorkerJob, x0: Tensor | None) -> DenoiserCall | Tensor:
    """Run a sampler to its next call, or to its result."""
    assert job.sampling is not None
    try:
        call = next(job.sampling) if x0 is None else job.sampling.send(x0)
    except StopIteration as stop:
        mean: Tensor = stop.value
        if not bool(torch.isfinite(mean.sum())):
            raise NumericalError("the last data step gave NaN or infinity") from None
        return mean
    if call.differentiate:
        raise NotImplementedError("samplers that differentiate the prior do not run on the server")
    return call


def _next_tile(job: WorkerJob) -> EnlargingStep | Tensor:
    """Run an enlargement to its next stop, or to its result."""
    assert job.enlarging is not None
    try:
        return next(job.enlarging)
    except StopIteration as stop:
        mean: Tensor = stop.value
        return mean


def _error(code: Code, message: str) -> dict[str, str]:
    return {"code": code.value, "message": message}
