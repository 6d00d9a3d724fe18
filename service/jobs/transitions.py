"""What changes a job, inside a transaction: its fenced row, its events, its end, told together or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    and_,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.sql.dml import ReturningUpdate

from service.jobs.ids import uuid7
from service.jobs.model import Event, JobState
from service.jobs.notices import Kind, announce
from service.jobs.tables import events, garbage, jobs, previews, webhooks

# Statements are built once: building them takes longer than executing them.

#: A job by its id, `whose`.
ONE = jobs.c.id == bindparam("whose")
QUEUED_ONE = and_(ONE, jobs.c.state == JobState.QUEUED)
#: The condition of every fenced write: the job `whose` runs, and under the claim `under`.
HELD = and_(ONE, jobs.c.fence == bindparam("under"), jobs.c.state == JobState.RUNNING)
STOPPED = and_(HELD, jobs.c.cancel_requested)
#: Running jobs whose lease had run out by `moment`.
LAPSED = and_(jobs.c.state == JobState.RUNNING, jobs.c.lease_until < bindparam("moment"))


def held(job_id: str, fence: int) -> dict[str, Any]:
    """What `HELD` has to know."""
    return {"whose": job_id, "under": fence}


def _noting(where: ColumnElement[bool], *columns: str) -> ReturningUpdate[Any]:
    """Take the next event's id of the job that `where` picks, and set columns to the parameters "new_COLUMN"."""
    values: dict[str, Any] = {name: bindparam(f"new_{name}") for name in columns}
    statement = update(jobs).where(where).values(last_event=jobs.c.last_event + 1, **values)
    return statement.returning(jobs.c.id, jobs.c.last_event)


def _ending(where: ColumnElement[bool], *columns: str) -> ReturningUpdate[Any]:
    """End the job that `where` picks, and set columns to the parameters "new_COLUMN"."""
    values: dict[str, Any] = {
        name: bindparam(f"new_{name}") for name in ("state", "finished_at", "expires_at", *columns)
    }
    return (
        update(jobs)
        .where(where)
        .values(worker=None, lease_until=None, last_event=jobs.c.last_event + 1, **values)
        .returning(jobs)
    )


def _requeueing(where: ColumnElement[bool], **values: Any) -> ReturningUpdate[Any]:
    """Put the job that `where` picks back into the queue."""
    return (
        update(jobs)
        .where(where)
        .values(
            state=JobState.QUEUED,
            worker=None,
            lease_until=None,
            step=0,
            steps=0,
            fraction=0.0,
            last_event=jobs.c.last_event + 1,
            **values,
        )
        .returning(jobs.c.id, jobs.c.last_event)
    )


NOTE, NOTE_HELD = _noting(ONE), _noting(HELD)
NOTE_START, NOTE_PROGRESS = _noting(HELD, "device"), _noting(HELD, "step", "steps", "fraction")

SUCCEED, FAIL, CANCEL = _ending(HELD, "outcome"), _ending(HELD, "error"), _ending(HELD)
CANCEL_QUEUED, CANCEL_STOPPED = _ending(QUEUED_ONE), _ending(STOPPED)
CANCEL_LAPSED, FAIL_LAPSED = _ending(and_(LAPSED, ONE)), _ending(and_(LAPSED, ONE), "error")

REQUEUE_LAPSED, REQUEUE_LOST = _requeueing(and_(LAPSED, ONE)), _requeueing(HELD)
REQUEUE_CRASHED = _requeueing(HELD, crashes=jobs.c.crashes + 1)
REQUEUE_INNOCENT = _requeueing(HELD, attempt=jobs.c.attempt - 1)

_INSERT_EVENT, _INSERT_PREVIEW, _INSERT_WEBHOOK = insert(events), insert(previews), insert(webhooks)
_FORGET_PREVIEW = delete(previews).where(previews.c.job_id == bindparam("whose"))


def store_event(
    connection: Connection, job_id: str, number: int, type: str, data: dict[str, Any], now: datetime
) -> None:
    """Store an event under an id that was taken for it."""
    told = {"job_id": job_id, "id": number, "type": type, "data": data, "created_at": now}
    connection.execute(_INSERT_EVENT, told)


def append_event(
    connection: Connection,
    noting: ReturningUpdate[Any],
    given: dict[str, Any],
    type: str,
    data: dict[str, Any],
    now: datetime,
) -> Event | None:
    """Take a job's next event id with one of the NOTE statements and what it has to know, and store the event."""
    row = connection.execute(noting, given).one_or_none()
    if row is None:
        return None
    store_event(connection, row.id, row.last_event, type, data, now)
    announce(connection, Kind.NEWS, row.id)
    return Event(row.last_event, type, data)


def show_preview(connection: Connection, given: dict[str, Any], data: dict[str, Any]) -> Event | None:
    """Take the next event id of a job that is held, and keep a preview under it in place of the one before."""
    row = connection.execute(NOTE_HELD, given).one_or_none()
    if row is None:
        return None
    connection.execute(_FORGET_PREVIEW, {"whose": row.id})
    connection.execute(_INSERT_PREVIEW, {"job_id": row.id, "id": row.last_event, "data": data})
    announce(connection, Kind.NEWS, row.id)
    return Event(row.last_event, "preview", data)


def end(
    connection: Connection,
    ending: ReturningUpdate[Any],
    given: dict[str, Any],
    state: JobState,
    now: datetime,
    retention_seconds: float,
) -> Row[Any] | None:
    """End a job: its state, its "completed" event and its webhook, together.

    Args:
        connection: in a transaction.
        ending: one of the statements above that end a job in `state`.
        given: what the statement has to know besides.
        state: the last.
        now: of the database.
        retention_seconds: until it expires.

    Returns:
        The row as it is now; None when there was no such job to end.
    """
    expiry = now + timedelta(seconds=retention_seconds)
    row = connection.execute(
        ending, {"new_state": state, "new_finished_at": now, "new_expires_at": expiry, **given}
    ).one_or_none()
    if row is None:
        return None
    data: dict[str, Any] = {"state": state.value}
    if row.error:
        data["error"] = row.error
    store_event(connection, row.id, row.last_event, "completed", data, now)
    if row.spec["previews"]:
        connection.execute(_FORGET_PREVIEW, {"whose": row.id})
    if row.spec["webhook"]:
        _post(connection, row, data, now)
    announce(connection, Kind.END, row.id)
    return row


def _post(connection: Connection, row: Row[Any], data: dict[str, Any], now: datetime) -> None:
    body = {
        "type": f"job.{data['state']}",
        "timestamp": now.isoformat(),
        "data": {"id": row.id, "task": row.spec["task"], **data, "finished_at": now.isoformat()},
    }
    message = {
        "id": uuid7(),
        "job_id": row.id,
        "url": row.spec["webhook"],
        "body": json.dumps(body, separators=(",", ":")),
        "state": "pending",
        "created_at": now,
        "due_at": now,
    }
    connection.execute(_INSERT_WEBHOOK, message)


def requeue(
    connection: Connection, requeueing: ReturningUpdate[Any], given: dict[str, Any], now: datetime, reason: str
) -> bool:
    """Put a job back into the queue with one of the REQUEUE statements, with the events that say so."""
    row = connection.execute(requeueing, given).one_or_none()
    if row is None:
        return False
    store_event(connection, row.id, row.last_event, "warning", {"code": "requeued", "message": reason}, now)
    connection.execute(_FORGET_PREVIEW, {"whose": row.id})
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
