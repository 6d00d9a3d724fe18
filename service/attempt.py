"""One attempt at one job: a ticket for the engine, and what the engine tells, written down under the claim's fence."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from service.blobs import BlobStore
from service.board import Board
from service.engine.protocol import Engine, Ticket, WorkerEvent
from service.housekeeping import MOST_LOST
from service.jobs.model import Event, Job, JobError, JobState
from service.jobs.store import JobStore, Outcome
from service.observability.logs import bound
from service.observability.metrics import Metrics
from service.observability.tracing import Tracing
from service.problems import Code
from service.threads import Threads

#: Seconds between progress events, and between previews, of one job: a person sees about five changes a second as
#: motion, and each event is a write.
PROGRESS_SECONDS = 0.2
#: Waits before the end of a job is written again when the database does not answer; longer than a restart of one takes.
PATIENCE_SECONDS = (0.1, 0.3, 1.0, 3.0, 10.0)

T = TypeVar("T")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Means:
    """What every attempt works with."""

    store: JobStore
    blobs: BlobStore
    engine: Engine
    board: Board
    metrics: Metrics
    database: Threads
    files: Threads
    max_attempts: int
    retention_seconds: float
    tracing: Tracing = field(default_factory=Tracing)


class _LostError(Exception):
    """The job was claimed again, or ended, since this attempt began."""


class Attempt:
    """Follows one claimed job to the end of this attempt.

    Args:
        job: as claimed.
        means: what it works with.

    Attributes:
        gave_back: the job was queued again.
    """

    def __init__(self, job: Job, means: Means) -> None:
        self.job = job
        self._means = means
        self._begun = self._reported = self._shown = time.monotonic()
        self._stopping = job.cancel_requested
        self.gave_back = False

    async def stop(self) -> None:
        """The job was asked to stop; may be called again."""
        self._stopping = True
        await self._means.engine.cancel(self.job.id, self.job.fence)

    async def run(self) -> None:
        """Work until the job has ended or is given back; raises nothing but cancellation."""
        job = self.job
        with bound(job=job.id, request=job.spec.request_id):
            stream = self._means.engine.run(ticket(job))
            try:
                await self._follow(stream)
            except _LostError:
                log.warning("attempt %d lost its job: another took over, or it has ended", job.attempt)
            except Exception:
                log.exception("attempt %d failed in the server itself", job.attempt)
                await self._interrupted({"reason": "crash", "blame": True})
            finally:
                if (close := getattr(stream, "aclose", None)) is not None:
                    await close()

    async def _follow(self, stream: AsyncIterator[WorkerEvent]) -> None:
        async for event in stream:
            match event.type:
                case "started":
                    await self._started(event.data)
                case "progress":
                    await self._progress(event.data)
                case "preview":
                    await self._preview(event.data)
                case "warning":
                    self._post(await self._call(self._means.store.add_event, "warning", event.data, self.job.fence))
                case "succeeded":
                    return await self._succeeded(event.data)
                case "failed":
                    return await self._failed(JobError(Code(event.data["code"]).value, event.data["message"]))
                case "canceled":
                    await self._end(self._means.store.canceled, JobState.CANCELED)
                    return
                case "interrupted":
                    return await self._interrupted(event.data)
        log.error("the engine let go of a ticket without saying how it ended")
        await self._interrupted({"reason": "crash", "blame": True})

    # What happens on the way.

    async def _started(self, data: dict[str, Any]) -> None:
        self._begun = self._reported = self._shown = time.monotonic()
        if self._stopping:
            await self.stop()
        store, job = self._means.store, self.job
        self._post(await self._means.database(store.started, job.id, job.fence, data["device"], job.attempt))

    async def _progress(self, data: dict[str, Any]) -> None:
        now, fraction = time.monotonic(), data["fraction"]
        if now - self._reported < PROGRESS_SECONDS:
            return
        eta = (now - self._begun) / fraction * (1.0 - fraction) if fraction else None
        told = {
            "step": data["step"],
            "steps": data["steps"],
            "fraction": fraction,
            "eta_s": None if eta is None else round(eta, 2),
        }
        store, job = self._means.store, self.job
        self._post(await self._means.database(store.progress, job.id, job.fence, told))
        self._reported = time.monotonic()

    async def _preview(self, data: dict[str, Any]) -> None:
        if time.monotonic() - self._shown < PROGRESS_SECONDS:
            return
        self._post(await self._call(self._means.store.show, self.job.fence, data))
        self._shown = time.monotonic()

    async def _call(self, method: Callable[..., Any], *args: Any) -> Any:
        return await self._means.database(method, self.job.id, *args)

    def _post(self, event: Event | None) -> None:
        if event is None:
            raise _LostError
        self._means.board.post(self.job.id)

    # How it ends.

    async def _succeeded(self, data: dict[str, Any]) -> None:
        outcome = Outcome(**data)
        if self.job.started_at is not None:
            outcome.metrics["queue"] = (self.job.started_at - self.job.created_at).total_seconds()
        if await self._end(self._means.store.succeed, JobState.SUCCEEDED, outcome):
            return
        for reference in outcome.outputs.values():  # nobody will ever ask for them
            await self._means.files(self._means.blobs.delete, reference)

    async def _failed(self, error: JobError) -> None:
        log.warning("failed: %s: %s", error.code, error.message)
        await self._end(self._means.store.fail, JobState.FAILED, error)

    async def _interrupted(self, data: dict[str, Any]) -> None:
        job, reason, blame = self.job, data.get("reason", ""), bool(data.get("blame"))
        lost = reason == "lost"
        if blame and job.crashes + 1 >= self._means.max_attempts:
            times = "once" if job.crashes == 0 else f"{job.crashes + 1} times"
            message = f"the worker was lost {times} while it worked on this job; it is not tried again"
            await self._failed(JobError(Code.WORKER_CRASHED.value, message))
            return
        if lost and job.attempt >= MOST_LOST:
            message = f"{job.attempt} attempts ended with the machine that they ran on; it is not tried again"
            await self._failed(JobError(Code.WORKER_CRASHED.value, message))
            return
        log.warning("interrupted (%s); queued again", reason)
        store, retention = self._means.store, self._means.retention_seconds
        await self._persistently(store.release, job.id, job.fence, blame=blame, lost=lost, retention_seconds=retention)
        self.gave_back = True
        self._means.board.post(job.id, ended=True)

    async def _end(self, method: Callable[..., Job | None], state: JobState, *args: Any) -> bool:
        job, means = self.job, self._means
        ended = await self._persistently(method, job.id, job.fence, *args, means.retention_seconds)
        if ended is not None:
            stages = args[0].metrics if args and isinstance(args[0], Outcome) else {}
            means.metrics.job_ended(job.spec.task, state.value, stages)
            means.tracing.ended(job, state.value, stages)
        else:
            log.warning("the end of attempt %d came too late; it is not taken", job.attempt)
        means.board.post(job.id, ended=True, job=ended)
        return ended is not None

    async def _persistently(self, method: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Write, again and again when the database does not answer. If it never does, the lease runs out."""
        for wait in PATIENCE_SECONDS:
            try:
                return await self._means.database(method, *args, **kwargs)
            except SQLAlchemyError:
                log.exception("the database does not take the end of a job; trying again in %g s", wait)
            await asyncio.sleep(wait)
        return await self._means.database(method, *args, **kwargs)


def ticket(job: Job) -> Ticket:
    """What the engine needs to know of a claimed job."""
    spec = job.spec
    return Ticket(
        job_id=job.id,
        fence=job.fence,
        attempt=job.attempt,
        task=spec.task,
        parameters=spec.parameters,
        inputs=spec.inputs,
        prior=spec.prior,
        priority=spec.priority.value,
        output=asdict(spec.output),
        previews=spec.previews,
        request_id=spec.request_id,
    )
