"""What changes a job, inside a transaction: its fenced row, its events, its end, told together or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, func, insert, or_, select, update

from service.jobs.ids import uuid7
from service.jobs.model import Event, JobState
from service.jobs.notices import Kind, announce
from service.jobs.tables import events, garbage, jobs, previews, webhooks


def held(job_id: str, fence: int) -> ColumnElement[bool]:
    """The condition of every fenced write: the job runs, and under this claim."""
    return and_(jobs.c.id == job_id, jobs.c.fence == fence, jobs.c.state == JobState.RUNNING)


def append_event(
    connection: Connection, where: ColumnElement[bool], type: str, data: dict[str, Any], now: datetime, **values: Any
) -> Event | None:
    """Take the next id of the job that `where` picks, setting `values` on its row, and store the event under it."""
    statement = update(jobs).where(where).values(last_event=jobs.c.last_event + 1, **values)
    row = connection.execute(statement.returning(jobs.c.id, jobs.c.last_event)).one_or_none()
    if row is None:
        return None
    connection.execute(insert(events).values(job_id=row.id, id=row.last_event, type=type, data=data, created_at=now))
    announce(connection, Kind.NEWS, row.id)
    return Event(row.last_event, type, data)


def show_preview(connection: Connection, where: ColumnElement[bool], data: dict[str, Any]) -> Event | None:
    """Take the next id of the job that `where` picks, and keep a preview under it in place of the one before."""
    statement = update(jobs).where(where).values(last_event=jobs.c.last_event + 1)
    row = connection.execute(statement.returning(jobs.c.id, jobs.c.last_event)).one_or_none()
    if row is None:
        return None
    _forget_preview(connection, row.id)
    connection.execute(insert(previews).values(job_id=row.id, id=row.last_event, data=data))
    announce(connection, Kind.NEWS, row.id)
    return Event(row.last_event, "preview", data)


def _forget_preview(connection: Connection, job_id: str) -> None:
    connection.execute(delete(previews).where(previews.c.job_id == job_id))


def end(
    connection: Connection,
    where: ColumnElement[bool],
    state: JobState,
    now: datetime,
    retention_seconds: float,
    **values: Any,
) -> bool:
    """End the job that `where` picks: its state, its "completed" event and its webhook, together."""
    statement = (
        update(jobs)
        .where(where)
        .values(
            state=state,
            finished_at=now,
            expires_at=now + timedelta(seconds=retention_seconds),
            worker=None,
            lease_until=None,
            last_event=jobs.c.last_event + 1,
            **values,
        )
        .returning(jobs)
    )
    row = connection.execute(statement).one_or_none()
    if row is None:
        return False
    data: dict[str, Any] = {"state": state.value}
    if row.error:
        data["error"] = row.error
    connection.execute(
        insert(events).values(job_id=row.id, id=row.last_event, type="completed", data=data, created_at=now)
    )
    _forget_preview(connection, row.id)
    if row.spec["webhook"]:
        _post(connection, row, data, now)
    announce(connection, Kind.END, row.id)
    return True


def _post(connection: Connection, row: Row[Any], data: dict[str, Any], now: datetime) -> None:
    body = {
        "type": f"job.{data['state']}",
        "timestamp": now.isoformat(),
        "data": {"id": row.id, "task": row.spec["task"], **data, "finished_at": now.isoformat()},
    }
    connection.execute(
        insert(webhooks).values(
            id=uuid7(),
            job_id=row.id,
            url=row.spec["webhook"],
            body=json.dumps(body, separators=(",", ":")),
            state="pending",
            created_at=now,
            due_at=now,
        )
    )


def requeue(connection: Connection, where: ColumnElement[bool], now: datetime, reason: str, **values: Any) -> bool:
    """Put the job that `where` picks back into the queue, with the events that say so."""
    statement = (
        update(jobs)
        .where(where)
        .values(
            state=JobState.QUEUED,
            worker=None,
            lease_until=None,
            step=0,
            steps=0,
            last_event=jobs.c.last_event + 1,
            **values,
        )
        .returning(jobs.c.id, jobs.c.last_event)
    )
    row = connection.execute(statement).one_or_none()
    if row is None:
        return False
    told = {"code": "requeued", "message": reason}
    connection.execute(
        insert(events).values(job_id=row.id, id=row.last_event, type="warning", data=told, created_at=now)
    )
    _forget_preview(connection, row.id)
    announce(connection, Kind.NEWS, row.id)
    announce(connection, Kind.WORK, row.id)
    return True


def ahead_of(job_id: str, priority: int) -> ColumnElement[bool]:
    """Queued jobs that are started before this one, if no share of the batch comes between."""
    return and_(
        jobs.c.state == JobState.QUEUED,
        or_(jobs.c.priority < priority, and_(jobs.c.priority == priority, jobs.c.id < job_id)),
    )


def empty(connection: Connection, rows: Iterable[Row[Any]]) -> list[str]:
    """Make ended jobs expired: their blobs become garbage, their key is given back, of their events the last stays."""
    references: list[str] = []
    for row in rows:
        found = [*row.spec["inputs"].values(), *((row.outcome or {}).get("outputs") or {}).values()]
        references += found
        connection.execute(
            update(jobs)
            .where(jobs.c.id == row.id)
            .values(
                state=JobState.EXPIRED,
                idempotency_key=None,
                spec={**row.spec, "inputs": {}},
                outcome={**row.outcome, "outputs": {}} if row.outcome else None,
            )
        )
        connection.execute(delete(events).where(events.c.job_id == row.id, events.c.type != "completed"))
    discard(connection, references)
    return references


def discard(connection: Connection, references: Sequence[str]) -> None:
    """Note blobs as garbage."""
    known = set(connection.scalars(select(garbage.c.reference).where(garbage.c.reference.in_(references))))
    fresh = [{"reference": reference} for reference in dict.fromkeys(references) if reference not in known]
    if fresh:
        connection.execute(insert(garbage), fresh)


def count(connection: Connection, *where: ColumnElement[bool]) -> int:
    """How many jobs."""
    return int(connection.scalar(select(func.count()).select_from(jobs).where(*where)) or 0)
