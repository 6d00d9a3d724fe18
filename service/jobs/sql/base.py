"""What the parts of the SQL store share."""

from __future__ import annotations

from sqlalchemy import Connection, func, select

from service.jobs.database import Database
from service.jobs.model import JobState
from service.jobs.tables import jobs

_WAITING = select(jobs.c.priority, func.count()).where(jobs.c.state == JobState.QUEUED).group_by(jobs.c.priority)


class Part:
    """A part of `SqlJobStore`: methods over one database."""

    _database: Database


def waiting(connection: Connection) -> dict[int, int]:
    """Queued jobs by the rank of their priority."""
    return {row[0]: row[1] for row in connection.execute(_WAITING)}
