"""Looking at jobs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import Connection, bindparam, select

from service.jobs.ids import is_uuid
from service.jobs.model import Event, Job, JobState
from service.jobs.rows import job_from_row
from service.jobs.sql.base import Part, waiting
from service.jobs.store import Page
from service.jobs.tables import PRIORITIES, events, jobs, previews
from service.jobs.transitions import ONE, ahead_of, count
from service.problems import Code, Problem

# Statements of every request's way are built once: building them takes longer than executing them.
_GET = select(jobs).where(ONE)
_CANCELLATIONS = select(jobs.c.id, jobs.c.fence).where(
    jobs.c.state == JobState.RUNNING, jobs.c.worker == bindparam("by"), jobs.c.cancel_requested
)
_EVENTS = (
    select(events).where(events.c.job_id == bindparam("whose"), events.c.id > bindparam("after")).order_by(events.c.id)
)
_PREVIEW = select(previews).where(previews.c.job_id == bindparam("whose"), previews.c.id > bindparam("after"))


class Reading(Part):
    """See `service.jobs.store.JobStore`."""

    def get(self, job_id: str) -> Job | None:
        with self._database.read() as connection:
            row = connection.execute(_GET, {"whose": job_id}).one_or_none()
            return None if row is None else job_from_row(row)

    def list(self, *, owner: str | None, state: JobState | None, cursor: str | None, limit: int) -> Page:
        query = select(jobs).order_by(jobs.c.id.desc()).limit(limit + 1)
        if owner is not None:
            query = query.where(jobs.c.owner == owner)
        if state is not None:
            query = query.where(jobs.c.state == state)
        if cursor is not None:
            if not is_uuid(cursor):
                raise Problem(
                    Code.INVALID_PARAMETER,
                    "cursor: not one that this server gave",
                    errors=[{"field": "cursor", "message": "take next_cursor of the page before"}],
                )
            query = query.where(jobs.c.id < cursor)
        with self._database.read() as connection:
            found = [job_from_row(row) for row in connection.execute(query)]
        return Page(found[:limit], found[limit - 1].id if len(found) > limit else None)

    def events(self, job_id: str, after: int = 0) -> Sequence[Event]:
        given = {"whose": job_id, "after": after}
        with self._database.read() as connection:
            found = [Event(row.id, row.type, row.data) for row in connection.execute(_EVENTS, given)]
            if (preview := connection.execute(_PREVIEW, given).one_or_none()) is not None:
                found.append(Event(preview.id, "preview", preview.data))
        return sorted(found, key=lambda event: event.id)

    def queued(self) -> dict[str, int]:
        with self._database.read() as connection:
            found = waiting(connection)
        return {name: found.get(rank, 0) for name, rank in PRIORITIES.items()}

    def active(self, owner: str) -> int:
        with self._database.read() as connection:
            return active(connection, owner)

    def position(self, job_id: str) -> int | None:
        with self._database.read() as connection:
            row = connection.execute(select(jobs.c.state, jobs.c.priority).where(jobs.c.id == job_id)).one_or_none()
            if row is None or row.state != JobState.QUEUED:
                return None
            return count(connection, ahead_of(job_id, row.priority))

    def throughput(self, seconds: float = 60.0) -> float:
        with self._database.read() as connection:
            since = self._database.now(connection) - timedelta(seconds=seconds)
            return count(connection, jobs.c.finished_at > since, jobs.c.started_at.is_not(None)) / seconds

    def cancellations(self, worker: str) -> Sequence[tuple[str, int]]:
        with self._database.read() as connection:
            return [(row.id, row.fence) for row in connection.execute(_CANCELLATIONS, {"by": worker})]


def active(connection: Connection, owner: str) -> int:
    """Jobs of an owner that are queued or running."""
    return count(connection, jobs.c.owner == owner, jobs.c.state.in_([JobState.QUEUED, JobState.RUNNING]))
