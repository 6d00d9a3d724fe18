"""The service without HTTP: jobs are submitted, waited for and cancelled here, over a store, blobs and an engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from service.blobs import BlobStore
from service.engine.protocol import Engine
from service.jobs.model import Event, Job, NewJob
from service.jobs.store import Cancellation, JobStore, Submission
from service.observability.metrics import Metrics


class Service(Protocol):
    """What the HTTP layer, the command line and the tests use. All methods belong to one event loop.

    Attributes:
        store, blobs, engine: the parts; the store's and the blobs' methods block.
        metrics: told of ended jobs and of the queue.
    """

    store: JobStore
    blobs: BlobStore
    engine: Engine
    metrics: Metrics

    async def start(self) -> None:
        """Open the store, take over what a dead server left, start the engine, the dispatcher and the housekeeping."""
        ...

    async def drain(self) -> None:
        """Refuse new jobs (DRAINING); let running ones finish for `drain_seconds`, queue the rest again; stop."""
        ...

    async def hurry(self) -> None:
        """A drain that has begun waits no longer: what runs is queued again now."""
        ...

    async def close(self) -> None:
        """Drain, then close the store; nothing may be asked of the service afterwards."""
        ...

    @property
    def draining(self) -> bool: ...

    async def admit(self, ahead: int = 0) -> None:
        """Look whether there is room, before the work of receiving and examining a picture; `submit` looks again.

        Args:
            ahead: submissions that were let in before and have not come to `submit` yet.

        Raises:
            Problem: SATURATED, DRAINING.
        """
        ...

    async def submit(self, new: NewJob) -> Submission:
        """Queue a job and wake the dispatcher.

        Raises:
            Problem: SATURATED, DRAINING, QUOTA (the owner's `jobs_per_key`), IDEMPOTENCY_MISMATCH.
        """
        ...

    async def wait(self, job_id: str, seconds: float | None = None, *, fresh: bool = False) -> Job:
        """The job once it has ended, or as it is after `seconds`.

        Args:
            job_id: whose.
            seconds: longest; None for as long as it takes.
            fresh: it was queued this moment. It is not looked at before its end is told, or a second has passed: a look
                now would only be in the way of its start.

        Raises:
            Problem: NOT_FOUND.
        """
        ...

    async def cancel(self, job_id: str) -> Cancellation: ...

    def watch(self, job_id: str, after: int = 0) -> AsyncIterator[Event]:
        """Stored events with ids above `after`, then new ones as they come; ends after "completed"."""
        ...
