"""What a job store promises: every write that a worker's result depends on is fenced, every claim is one statement."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from service.jobs.model import Event, Job, JobError, JobState, NewJob, Upload
from service.jobs.notices import Notice
from service.webhooks.outbox import Outbox


@dataclass(frozen=True)
class Submission:
    """The job, and whether an idempotency key found an earlier one."""

    job: Job
    replayed: bool


@dataclass(frozen=True)
class Claim:
    """Who would run a job, and for how long its claim holds unless it is renewed."""

    worker: str
    lease_seconds: float


@dataclass(frozen=True)
class Page:
    """Some jobs, newest first, and where the next page begins (None at the end)."""

    jobs: Sequence[Job]
    next_cursor: str | None


@dataclass(frozen=True)
class Outcome:
    """What a succeeded job is stored with; see `Job`."""

    outputs: dict[str, str]
    media_type: str
    width: int
    height: int
    sha256: str
    effective: dict[str, Any]
    warnings: list[dict[str, str]]
    metrics: dict[str, float]
    degraded: str = ""


class Cancellation(StrEnum):
    """What a request to cancel did."""

    CANCELED = "canceled"
    REQUESTED = "requested"
    ENDED = "ended"
    UNKNOWN = "unknown"


class Lease(StrEnum):
    """Whether a worker still owns its job."""

    HELD = "held"
    CANCEL = "cancel"
    LOST = "lost"


class JobStore(Protocol):
    """Durable jobs. Methods block (call them from a thread) and are safe from several threads and processes.

    `fence` arguments name the claim that a write belongs to; when the job has been claimed again since, or has ended,
    the write is refused: the method returns False (or None) and changes nothing.

    Attributes:
        outbox: where the end of a job with a webhook is put, in the transaction that ends it.
    """

    outbox: Outbox

    def open(self) -> None:
        """Make or upgrade what the store needs, and log what was done; call it once before anything else.

        Raises:
            SchemaError: the store was upgraded by a later version.
        """
        ...

    def close(self) -> None: ...

    async def listen(self, heard: Callable[[Notice], None]) -> None:
        """Pass on what other servers write into the store, until cancelled; returns when the store cannot tell.

        Unlike the other methods it belongs into the event loop.
        """
        ...

    def submit(
        self, new: NewJob, max_queue: int, max_active: int | None = None, claim: Claim | None = None
    ) -> Submission:
        """Store a queued job with its "queued" event, or find the one its idempotency key already made.

        Keys belong to an owner. A canceled or expired job gives its key back: the next submission makes a new job, so
        that a caller who lost the connection, and with it the job, can try again.

        Args:
            new: the submission; each blob it refers to belongs to this job alone from now on.
            max_queue: how many jobs may wait.
            max_active: how many jobs of the owner may be queued or running; None for any number.
            claim: who has room for one more: when no other job waits, the new one is stored as running, claimed as
                `claim` would have done a moment later. None leaves it to the queue.

        Raises:
            Problem: IDEMPOTENCY_MISMATCH, the key came with another fingerprint; SATURATED, the queue is full; QUOTA,
                the owner has `max_active` jobs. A submission that finds an earlier job meets neither limit.
        """
        ...

    def get(self, job_id: str) -> Job | None: ...

    def list(self, *, owner: str | None, state: JobState | None, cursor: str | None, limit: int) -> Page:
        """Jobs of one owner (of all for None), newest first.

        Raises:
            Problem: INVALID_PARAMETER, the cursor is not one of ours.
        """
        ...

    def claim(self, worker: str, lease_seconds: float, limit: int) -> Sequence[Job]:
        """Take up to `limit` queued jobs; each is now running, attempt and fence one higher.

        Interactive jobs go before batch jobs, older ones before younger; while both wait, every fourth claim takes a
        batch job.
        """
        ...

    def recover(self, max_attempts: int, retention_seconds: float) -> Sequence[Job]:
        """Queue again running jobs whose lease ran out; those with `max_attempts` behind them fail as worker_crashed.

        Those that were asked to stop end as canceled.

        Returns:
            the jobs that failed.
        """
        ...

    def workers(self) -> Sequence[str]:
        """Who holds running jobs."""
        ...

    def abandon(self, worker: str) -> None:
        """End the leases of a worker that is known to be dead, for `recover` to find."""
        ...

    def cancellations(self, worker: str) -> Sequence[tuple[str, int]]:
        """Id and fence of the worker's running jobs that were asked to stop."""
        ...

    def renew(self, job_id: str, fence: int, lease_seconds: float) -> Lease: ...

    def renew_all(self, worker: str, lease_seconds: float) -> set[tuple[str, int]]:
        """Renew all leases of a worker; returns id and fence of the jobs that it holds."""
        ...

    def release(self, job_id: str, fence: int, *, blame: bool, retention_seconds: float, lost: bool = False) -> bool:
        """Give a running job back to the queue, with a "warning" event; one that was asked to stop ends as canceled.

        With blame the attempt counts as one that killed its worker (`Job.crashes`); one whose machine was lost counts
        as an attempt; any other does not count at all (drain, another's crash).
        """
        ...

    def started(self, job_id: str, fence: int, device: str, attempt: int) -> Event | None:
        """A running job is on its device now: notes it, with a "started" event."""
        ...

    def progress(self, job_id: str, fence: int, data: dict[str, Any]) -> Event | None:
        """Note how far a running job is, its `step`, `steps` and `fraction`, with a "progress" event of all `data`."""
        ...

    def succeed(self, job_id: str, fence: int, outcome: Outcome, retention_seconds: float) -> Job | None:
        """A running job is done; returns it as it has ended."""
        ...

    def fail(self, job_id: str, fence: int, error: JobError, retention_seconds: float) -> Job | None: ...

    def canceled(self, job_id: str, fence: int, retention_seconds: float) -> Job | None:
        """A running job has stopped as asked."""
        ...

    def cancel(self, job_id: str, retention_seconds: float) -> Cancellation:
        """End a queued job at once, or ask a running one to stop."""
        ...

    def add_event(self, job_id: str, type: str, data: dict[str, Any], fence: int | None = None) -> Event | None: ...

    def show(self, job_id: str, fence: int, data: dict[str, Any]) -> Event | None:
        """A "preview" event of a running job; only the latest is kept, and only while the job runs."""
        ...

    def events(self, job_id: str, after: int = 0) -> Sequence[Event]:
        """Events with ids above `after`, by id, a running job's latest preview among them."""
        ...

    def purge(self, job_id: str) -> Sequence[str] | None:
        """Forget inputs and outputs of an ended or queued job now (it becomes expired).

        Returns:
            references of the blobs to delete, `garbage` until then; None when the job is unknown or running.
        """
        ...

    def expire(self, limit: int = 100) -> Sequence[str]:
        """Mark ended jobs past their retention as expired and forget uploads past theirs.

        Returns:
            references of the blobs to delete; they are `garbage` until `forget` is told of them.
        """
        ...

    def garbage(self, limit: int = 100) -> Sequence[str]:
        """References of blobs that nobody needs any more."""
        ...

    def references(self) -> set[str]:
        """Of all blobs that jobs and uploads have need of."""
        ...

    def forget(self, references: Sequence[str]) -> None:
        """These blobs are gone."""
        ...

    def add_upload(self, upload: Upload) -> None: ...

    def upload(self, upload_id: str, owner: str) -> Upload | None:
        """An owner's upload that has not expired. Jobs copy its blob, and so do not depend on it."""
        ...

    def queued(self) -> dict[str, int]:
        """Jobs waiting, by priority."""
        ...

    def active(self, owner: str) -> int:
        """Jobs of an owner that are queued or running."""
        ...

    def position(self, job_id: str) -> int | None:
        """Jobs that will be started before a queued one; None when it is not queued."""
        ...

    def throughput(self, seconds: float = 60.0) -> float:
        """Jobs that were run and ended, per second, over the last so many seconds."""
        ...
