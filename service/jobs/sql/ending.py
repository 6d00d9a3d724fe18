"""How jobs end."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select, update
from sqlalchemy.sql.dml import ReturningUpdate

from service.jobs.model import Job, JobError, JobState
from service.jobs.notices import Kind, announce
from service.jobs.rows import job_from_row
from service.jobs.sql.base import Part
from service.jobs.store import Cancellation, Outcome
from service.jobs.tables import jobs
from service.jobs.transitions import CANCEL, CANCEL_QUEUED, FAIL, ONE, SUCCEED, end, held

_ASK = update(jobs).where(ONE, jobs.c.state == JobState.RUNNING).values(cancel_requested=True)
_KNOWN = select(jobs.c.id).where(ONE)


class Ending(Part):
    """See `service.jobs.store.JobStore`."""

    def succeed(self, job_id: str, fence: int, outcome: Outcome, retention_seconds: float) -> Job | None:
        stored = {name: getattr(outcome, name) for name in Outcome.__dataclass_fields__}
        given = held(job_id, fence) | {"new_outcome": stored}
        return self._end(SUCCEED, given, JobState.SUCCEEDED, retention_seconds)

    def fail(self, job_id: str, fence: int, error: JobError, retention_seconds: float) -> Job | None:
        given = held(job_id, fence) | {"new_error": {"code": error.code, "message": error.message}}
        return self._end(FAIL, given, JobState.FAILED, retention_seconds)

    def canceled(self, job_id: str, fence: int, retention_seconds: float) -> Job | None:
        return self._end(CANCEL, held(job_id, fence), JobState.CANCELED, retention_seconds)

    def _end(
        self, ending: ReturningUpdate[Any], given: dict[str, Any], state: JobState, retention_seconds: float
    ) -> Job | None:
        with self._database.write() as connection:
            row = end(connection, ending, given, state, self._database.now(connection), retention_seconds)
            return None if row is None else job_from_row(row)

    def cancel(self, job_id: str, retention_seconds: float) -> Cancellation:
        one = {"whose": job_id}
        with self._database.write() as connection:
            now = self._database.now(connection)
            if end(connection, CANCEL_QUEUED, one, JobState.CANCELED, now, retention_seconds) is not None:
                return Cancellation.CANCELED
            if connection.execute(_ASK, one).rowcount:
                announce(connection, Kind.STOP, job_id)
                return Cancellation.REQUESTED
            known = connection.scalar(_KNOWN, one)
            return Cancellation.UNKNOWN if known is None else Cancellation.ENDED
