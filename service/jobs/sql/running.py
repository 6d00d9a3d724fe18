"""Leases of running jobs, and what is told of them on the way."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import bindparam, select, update

from service.jobs.model import Event, Job, JobState
from service.jobs.rows import job_from_row
from service.jobs.sql.base import Part
from service.jobs.store import Lease
from service.jobs.tables import jobs
from service.jobs.transitions import (
    CANCEL_LAPSED,
    CANCEL_STOPPED,
    FAIL_LAPSED,
    HELD,
    LAPSED,
    NOTE,
    NOTE_HELD,
    NOTE_PROGRESS,
    NOTE_START,
    REQUEUE_CRASHED,
    REQUEUE_INNOCENT,
    REQUEUE_LAPSED,
    REQUEUE_LOST,
    append_event,
    end,
    held,
    requeue,
    show_preview,
)
from service.problems import Code

_THEIRS = (jobs.c.state == JobState.RUNNING) & (jobs.c.worker == bindparam("by"))
_RENEW = update(jobs).where(HELD).values(lease_until=bindparam("until")).returning(jobs.c.cancel_requested)
_RENEW_ALL = update(jobs).where(_THEIRS).values(lease_until=bindparam("until")).returning(jobs.c.id, jobs.c.fence)
_ABANDON = update(jobs).where(_THEIRS).values(lease_until=bindparam("until"))
_LAPSED = select(jobs).where(LAPSED).with_for_update(skip_locked=True)


class Running(Part):
    """See `service.jobs.store.JobStore`."""

    def renew(self, job_id: str, fence: int, lease_seconds: float) -> Lease:
        with self._database.write(durable=False) as connection:
            until = self._database.now(connection) + timedelta(seconds=lease_seconds)
            row = connection.execute(_RENEW, held(job_id, fence) | {"until": until}).one_or_none()
        if row is None:
            return Lease.LOST
        return Lease.CANCEL if row.cancel_requested else Lease.HELD

    def renew_all(self, worker: str, lease_seconds: float) -> set[tuple[str, int]]:
        with self._database.write(durable=False) as connection:
            until = self._database.now(connection) + timedelta(seconds=lease_seconds)
            return {(row.id, row.fence) for row in connection.execute(_RENEW_ALL, {"by": worker, "until": until})}

    def release(self, job_id: str, fence: int, *, blame: bool, retention_seconds: float, lost: bool = False) -> bool:
        given = held(job_id, fence)
        with self._database.write() as connection:
            now = self._database.now(connection)
            if end(connection, CANCEL_STOPPED, given, JobState.CANCELED, now, retention_seconds) is not None:
                return True
            if blame:
                reason = "the worker died during this job; it is queued again"
                return requeue(connection, REQUEUE_CRASHED, given, now, reason)
            if lost:
                reason = "the machine that ran this job is gone; the job is queued again"
                return requeue(connection, REQUEUE_LOST, given, now, reason)
            reason = "the work was interrupted; the job is queued again"
            return requeue(connection, REQUEUE_INNOCENT, given, now, reason)

    def recover(self, max_attempts: int, retention_seconds: float) -> Sequence[Job]:
        failed: list[Job] = []
        with self._database.write() as connection:
            now = self._database.now(connection)
            for row in connection.execute(_LAPSED, {"moment": now}).all():
                given = {"moment": now, "whose": row.id}
                if row.cancel_requested:
                    end(connection, CANCEL_LAPSED, given, JobState.CANCELED, now, retention_seconds)
                elif row.attempt < max_attempts:
                    reason = "the server that ran this job is gone; the job is queued again"
                    requeue(connection, REQUEUE_LAPSED, given, now, reason)
                else:
                    error = {"code": Code.WORKER_CRASHED, "message": f"{row.attempt} attempts ended with their server"}
                    given |= {"new_error": error}
                    ended = end(connection, FAIL_LAPSED, given, JobState.FAILED, now, retention_seconds)
                    if ended is not None:
                        failed.append(job_from_row(ended))
        return failed

    def workers(self) -> Sequence[str]:
        query = select(jobs.c.worker).where(jobs.c.state == JobState.RUNNING).distinct()
        with self._database.read() as connection:
            return [worker for worker in connection.scalars(query) if worker is not None]

    def abandon(self, worker: str) -> None:
        with self._database.write() as connection:
            past = self._database.now(connection) - timedelta(seconds=1)
            connection.execute(_ABANDON, {"by": worker, "until": past})

    def started(self, job_id: str, fence: int, device: str, attempt: int) -> Event | None:
        with self._database.write(durable=False) as connection:
            now, data = self._database.now(connection), {"attempt": attempt, "device": device}
            given = held(job_id, fence) | {"new_device": device}
            return append_event(connection, NOTE_START, given, "started", data, now)

    def progress(self, job_id: str, fence: int, data: dict[str, Any]) -> Event | None:
        with self._database.write(durable=False) as connection:
            given = held(job_id, fence) | {f"new_{name}": data[name] for name in ("step", "steps", "fraction")}
            now = self._database.now(connection)
            return append_event(connection, NOTE_PROGRESS, given, "progress", data, now)

    def add_event(self, job_id: str, type: str, data: dict[str, Any], fence: int | None = None) -> Event | None:
        noting, given = (NOTE, {"whose": job_id}) if fence is None else (NOTE_HELD, held(job_id, fence))
        with self._database.write(durable=False) as connection:
            return append_event(connection, noting, given, type, data, self._database.now(connection))

    def show(self, job_id: str, fence: int, data: dict[str, Any]) -> Event | None:
        with self._database.write(durable=False) as connection:
            return show_preview(connection, held(job_id, fence), data)
