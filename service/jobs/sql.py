"""Jobs in SQLite or PostgreSQL."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update
from sqlalchemy.sql.dml import ReturningUpdate

from service.jobs.database import Database
from service.jobs.ids import is_uuid, uuid7
from service.jobs.model import Event, Job, JobError, JobState, NewJob, Upload
from service.jobs.notices import Kind, Notice, announce, listen
from service.jobs.rows import job_from_row, spec_to_json, upload_from_row
from service.jobs.schema import upgrade
from service.jobs.store import Cancellation, Lease, Outcome, Page, Submission
from service.jobs.tables import PRIORITIES, events, garbage, jobs, previews, uploads
from service.jobs.transitions import ahead_of, append_event, count, discard, empty, end, held, requeue, show_preview
from service.problems import Code, Problem
from service.webhooks.outbox import Outbox

#: While both wait, one of so many claims takes a batch job: enough that none starves, little enough that interactive
#: jobs lose a quarter of the machine at most.
BATCH_SHARE = 4
#: How long the rows of expired jobs are kept, so that their ids are answered 410 and not 404.
HISTORY_SECONDS = 30 * 86400.0

log = logging.getLogger(__name__)

# Statements of every request's way are built once: building them takes longer than executing them.
_GET = select(jobs).where(jobs.c.id == bindparam("wanted"))
_WAITING = select(jobs.c.priority, func.count()).where(jobs.c.state == JobState.QUEUED).group_by(jobs.c.priority)
_INSERT_JOB, _INSERT_EVENT = insert(jobs).returning(jobs), insert(events)


def _claim(of_priority: bool) -> ReturningUpdate[Any]:
    """Claim `most` queued jobs, of one `rank` only or of any, for `by` until `until`."""
    chosen = select(jobs.c.id).where(jobs.c.state == JobState.QUEUED)
    if of_priority:
        chosen = chosen.where(jobs.c.priority == bindparam("rank"))
    chosen = chosen.order_by(jobs.c.priority, jobs.c.id).limit(bindparam("most")).with_for_update(skip_locked=True)
    once = chosen.cte("chosen")  # as a mere subquery PostgreSQL may run it again for each row, past the limit
    return (
        update(jobs)
        .where(jobs.c.id.in_(select(once.c.id)), jobs.c.state == JobState.QUEUED)
        .values(
            state=JobState.RUNNING,
            worker=bindparam("by"),
            lease_until=bindparam("until"),
            attempt=jobs.c.attempt + 1,
            fence=jobs.c.fence + 1,
            started_at=bindparam("begun"),
        )
        .returning(jobs)
    )


_CLAIM, _CLAIM_RANK = _claim(False), _claim(True)


class SqlJobStore:
    """`JobStore` on SQLAlchemy: SQLite for one server, PostgreSQL for several.

    Args:
        url: of SQLAlchemy, such as `sqlite:////var/lib/pellucid/pellucid.db` or `postgresql+psycopg://host/name`.

    Attributes:
        outbox: of the webhooks.
    """

    def __init__(self, url: str) -> None:
        self._database = Database(url)
        self.outbox = Outbox(self._database)
        self._claimed = 0
        self._counting = threading.Lock()

    def open(self) -> None:
        with self._database.write() as connection:
            change = upgrade(connection)
        log.info("%s", change)

    def close(self) -> None:
        self._database.close()

    async def listen(self, heard: Callable[[Notice], None]) -> None:
        if not self._database.sqlite:
            await listen(self._database.url, heard)

    # Submitting and reading.

    def submit(self, new: NewJob, max_queue: int, max_active: int | None = None) -> Submission:
        with self._database.write() as connection:
            self._database.serialise_submissions(connection)
            earlier = self._earlier(connection, new)
            if earlier is not None:
                return Submission(earlier, True)
            waiting = self._waiting(connection)
            if sum(waiting.values()) >= max_queue:
                raise saturated(max_queue)
            if max_active is not None and self._active(connection, new.owner) >= max_active:
                raise Problem(
                    Code.QUOTA, f"this key has {max_active} jobs queued or running already; wait for one to end"
                )
            now, job_id = self._database.now(connection), uuid7()
            rank = PRIORITIES[new.priority]
            row = connection.execute(
                _INSERT_JOB,
                {
                    "id": job_id,
                    "owner": new.owner,
                    "state": JobState.QUEUED,
                    "priority": rank,
                    "idempotency_key": new.idempotency_key,
                    "fingerprint": new.fingerprint,
                    "spec": spec_to_json(new),
                    "created_at": now,
                    "last_event": 1,
                },
            ).one()
            # Its id is later than the others', but for the clocks of several servers: no less urgent ones go first.
            position = sum(number for other, number in waiting.items() if other <= rank)
            told = {"position": position}
            event = {"job_id": job_id, "id": 1, "type": "queued", "data": told, "created_at": now}
            connection.execute(_INSERT_EVENT, event)
            announce(connection, Kind.WORK, job_id)
            return Submission(job_from_row(row), False)

    def _earlier(self, connection: Connection, new: NewJob) -> Job | None:
        """The job that an idempotency key made, unless it gave the key back."""
        if new.idempotency_key is None:
            return None
        mine = (jobs.c.owner == new.owner) & (jobs.c.idempotency_key == new.idempotency_key)
        row = connection.execute(select(jobs).where(mine)).one_or_none()
        if row is None:
            return None
        if row.state in (JobState.CANCELED, JobState.EXPIRED):
            connection.execute(update(jobs).where(mine).values(idempotency_key=None))
            return None
        if row.fingerprint != new.fingerprint:
            raise Problem(
                Code.IDEMPOTENCY_MISMATCH,
                "this Idempotency-Key was used with another picture or other parameters; take a new key",
            )
        return job_from_row(row)

    def get(self, job_id: str) -> Job | None:
        with self._database.read() as connection:
            row = connection.execute(_GET, {"wanted": job_id}).one_or_none()
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
        query = select(events).where(events.c.job_id == job_id, events.c.id > after).order_by(events.c.id)
        with self._database.read() as connection:
            found = [Event(row.id, row.type, row.data) for row in connection.execute(query)]
            shown = select(previews).where(previews.c.job_id == job_id, previews.c.id > after)
            if (preview := connection.execute(shown).one_or_none()) is not None:
                found.append(Event(preview.id, "preview", preview.data))
        return sorted(found, key=lambda event: event.id)

    def queued(self) -> dict[str, int]:
        with self._database.read() as connection:
            found = self._waiting(connection)
        return {name: found.get(rank, 0) for name, rank in PRIORITIES.items()}

    def _waiting(self, connection: Connection) -> dict[int, int]:
        """Queued jobs by the rank of their priority."""
        return {row[0]: row[1] for row in connection.execute(_WAITING)}

    def active(self, owner: str) -> int:
        with self._database.read() as connection:
            return self._active(connection, owner)

    def _active(self, connection: Connection, owner: str) -> int:
        return count(connection, jobs.c.owner == owner, jobs.c.state.in_([JobState.QUEUED, JobState.RUNNING]))

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

    # Running.

    def claim(self, worker: str, lease_seconds: float, limit: int) -> Sequence[Job]:
        with self._counting:
            share = (self._claimed + limit) // BATCH_SHARE - self._claimed // BATCH_SHARE
        with self._database.write(durable=False) as connection:
            batch = PRIORITIES["batch"]
            shared: Sequence[Job] = ()
            if share and batch in self._waiting(connection):
                shared = self._take(connection, worker, lease_seconds, share, batch)
            taken = [*shared, *self._take(connection, worker, lease_seconds, limit - len(shared), None)]
        with self._counting:
            self._claimed += len(taken)
        return sorted(taken, key=lambda job: (PRIORITIES[job.spec.priority], job.id))

    def _take(
        self, connection: Connection, worker: str, lease_seconds: float, limit: int, priority: int | None
    ) -> Sequence[Job]:
        if limit <= 0:
            return []
        now = self._database.now(connection)
        given = {"most": limit, "by": worker, "until": now + timedelta(seconds=lease_seconds), "begun": now}
        if priority is None:
            return [job_from_row(row) for row in connection.execute(_CLAIM, given)]
        return [job_from_row(row) for row in connection.execute(_CLAIM_RANK, given | {"rank": priority})]

    def renew(self, job_id: str, fence: int, lease_seconds: float) -> Lease:
        with self._database.write(durable=False) as connection:
            until = self._database.now(connection) + timedelta(seconds=lease_seconds)
            statement = update(jobs).where(held(job_id, fence)).values(lease_until=until)
            row = connection.execute(statement.returning(jobs.c.cancel_requested)).one_or_none()
        if row is None:
            return Lease.LOST
        return Lease.CANCEL if row.cancel_requested else Lease.HELD

    def renew_all(self, worker: str, lease_seconds: float) -> set[tuple[str, int]]:
        mine = (jobs.c.state == JobState.RUNNING) & (jobs.c.worker == worker)
        with self._database.write(durable=False) as connection:
            until = self._database.now(connection) + timedelta(seconds=lease_seconds)
            statement = update(jobs).where(mine).values(lease_until=until).returning(jobs.c.id, jobs.c.fence)
            return {(row.id, row.fence) for row in connection.execute(statement)}

    def release(self, job_id: str, fence: int, *, blame: bool, retention_seconds: float, lost: bool = False) -> bool:
        with self._database.write() as connection:
            now = self._database.now(connection)
            stopped = held(job_id, fence) & jobs.c.cancel_requested
            if end(connection, stopped, JobState.CANCELED, now, retention_seconds):
                return True
            if blame:
                reason = "the worker died during this job; it is queued again"
                return requeue(connection, held(job_id, fence), now, reason, crashes=jobs.c.crashes + 1)
            if lost:
                reason = "the machine that ran this job is gone; the job is queued again"
                return requeue(connection, held(job_id, fence), now, reason)
            reason = "the work was interrupted; the job is queued again"
            return requeue(connection, held(job_id, fence), now, reason, attempt=jobs.c.attempt - 1)

    def recover(self, max_attempts: int, retention_seconds: float) -> Sequence[Job]:
        failed: list[Job] = []
        with self._database.write() as connection:
            now = self._database.now(connection)
            lost = (jobs.c.state == JobState.RUNNING) & (jobs.c.lease_until < now)
            for row in connection.execute(select(jobs).where(lost).with_for_update(skip_locked=True)).all():
                where = lost & (jobs.c.id == row.id)
                if row.cancel_requested:
                    end(connection, where, JobState.CANCELED, now, retention_seconds)
                elif row.attempt < max_attempts:
                    requeue(connection, where, now, "the server that ran this job is gone; the job is queued again")
                else:
                    error = {"code": Code.WORKER_CRASHED, "message": f"{row.attempt} attempts ended with their server"}
                    end(connection, where, JobState.FAILED, now, retention_seconds, error=error)
                    failed.append(self._get(connection, row.id))
        return failed

    def _get(self, connection: Connection, job_id: str) -> Job:
        return job_from_row(connection.execute(select(jobs).where(jobs.c.id == job_id)).one())

    def workers(self) -> Sequence[str]:
        query = select(jobs.c.worker).where(jobs.c.state == JobState.RUNNING).distinct()
        with self._database.read() as connection:
            return [worker for worker in connection.scalars(query) if worker is not None]

    def abandon(self, worker: str) -> None:
        with self._database.write() as connection:
            past = self._database.now(connection) - timedelta(seconds=1)
            theirs = (jobs.c.state == JobState.RUNNING) & (jobs.c.worker == worker)
            connection.execute(update(jobs).where(theirs).values(lease_until=past))

    def cancellations(self, worker: str) -> Sequence[tuple[str, int]]:
        query = select(jobs.c.id, jobs.c.fence).where(
            jobs.c.state == JobState.RUNNING, jobs.c.worker == worker, jobs.c.cancel_requested
        )
        with self._database.read() as connection:
            return [(row.id, row.fence) for row in connection.execute(query)]

    def progress(self, job_id: str, fence: int, step: int, steps: int, data: dict[str, Any]) -> Event | None:
        with self._database.write(durable=False) as connection:
            now = self._database.now(connection)
            return append_event(connection, held(job_id, fence), "progress", data, now, step=step, steps=steps)

    def started(self, job_id: str, fence: int, device: str, attempt: int) -> Event | None:
        with self._database.write(durable=False) as connection:
            now, data = self._database.now(connection), {"attempt": attempt, "device": device}
            return append_event(connection, held(job_id, fence), "started", data, now, device=device)

    def add_event(self, job_id: str, type: str, data: dict[str, Any], fence: int | None = None) -> Event | None:
        where = jobs.c.id == job_id if fence is None else held(job_id, fence)
        with self._database.write(durable=False) as connection:
            return append_event(connection, where, type, data, self._database.now(connection))

    def show(self, job_id: str, fence: int, data: dict[str, Any]) -> Event | None:
        with self._database.write(durable=False) as connection:
            return show_preview(connection, held(job_id, fence), data)

    # Ending.

    def succeed(self, job_id: str, fence: int, outcome: Outcome, retention_seconds: float) -> bool:
        stored = {name: getattr(outcome, name) for name in Outcome.__dataclass_fields__}
        with self._database.write() as connection:
            now, where = self._database.now(connection), held(job_id, fence)
            return end(connection, where, JobState.SUCCEEDED, now, retention_seconds, outcome=stored)

    def fail(self, job_id: str, fence: int, error: JobError, retention_seconds: float) -> bool:
        with self._database.write() as connection:
            now, where = self._database.now(connection), held(job_id, fence)
            values = {"code": error.code, "message": error.message}
            return end(connection, where, JobState.FAILED, now, retention_seconds, error=values)

    def canceled(self, job_id: str, fence: int, retention_seconds: float) -> bool:
        with self._database.write() as connection:
            now = self._database.now(connection)
            return end(connection, held(job_id, fence), JobState.CANCELED, now, retention_seconds)

    def cancel(self, job_id: str, retention_seconds: float) -> Cancellation:
        with self._database.write() as connection:
            now, queued = self._database.now(connection), jobs.c.state == JobState.QUEUED
            if end(connection, (jobs.c.id == job_id) & queued, JobState.CANCELED, now, retention_seconds):
                return Cancellation.CANCELED
            running = (jobs.c.id == job_id) & (jobs.c.state == JobState.RUNNING)
            asked = connection.execute(update(jobs).where(running).values(cancel_requested=True))
            if asked.rowcount:
                announce(connection, Kind.STOP, job_id)
                return Cancellation.REQUESTED
            known = connection.scalar(select(jobs.c.id).where(jobs.c.id == job_id))
            return Cancellation.UNKNOWN if known is None else Cancellation.ENDED

    # Forgetting.

    def purge(self, job_id: str) -> Sequence[str] | None:
        with self._database.write() as connection:
            now = self._database.now(connection)
            queued = (jobs.c.id == job_id) & (jobs.c.state == JobState.QUEUED)
            end(connection, queued, JobState.CANCELED, now, 0.0)
            ended = (jobs.c.id == job_id) & (jobs.c.state != JobState.RUNNING)
            row = connection.execute(select(jobs).where(ended).with_for_update()).one_or_none()
            return None if row is None else empty(connection, [row])

    def expire(self, limit: int = 100) -> Sequence[str]:
        with self._database.write() as connection:
            now = self._database.now(connection)
            ended = [JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELED]
            query = select(jobs).where(jobs.c.state.in_(ended), jobs.c.expires_at <= now).limit(limit)
            references = empty(connection, connection.execute(query.with_for_update(skip_locked=True)).all())
            old = delete(uploads).where(uploads.c.expires_at <= now).returning(uploads.c.reference)
            dropped = [*connection.scalars(old)]
            discard(connection, dropped)
            forgotten = now - timedelta(seconds=HISTORY_SECONDS)
            connection.execute(delete(jobs).where(jobs.c.state == JobState.EXPIRED, jobs.c.expires_at < forgotten))
            return [*references, *dropped]

    def garbage(self, limit: int = 100) -> Sequence[str]:
        with self._database.read() as connection:
            return [*connection.scalars(select(garbage.c.reference).limit(limit))]

    def references(self) -> set[str]:
        live = select(jobs.c.spec, jobs.c.outcome).where(jobs.c.state != JobState.EXPIRED)
        with self._database.read() as connection:
            found = set(connection.scalars(select(uploads.c.reference)))
            for row in connection.execute(live):
                found.update(row.spec["inputs"].values(), (row.outcome or {}).get("outputs", {}).values())
            return found

    def forget(self, references: Sequence[str]) -> None:
        with self._database.write(durable=False) as connection:
            connection.execute(delete(garbage).where(garbage.c.reference.in_(references)))

    # Uploads.

    def add_upload(self, upload: Upload) -> None:
        with self._database.write() as connection:
            connection.execute(insert(uploads).values(vars(upload)))

    def upload(self, upload_id: str, owner: str) -> Upload | None:
        with self._database.read() as connection:
            mine = (uploads.c.id == upload_id) & (uploads.c.owner == owner)
            fresh = uploads.c.expires_at > self._database.now(connection)
            row = connection.execute(select(uploads).where(mine, fresh)).one_or_none()
            return None if row is None else upload_from_row(row)


def saturated(max_queue: int) -> Problem:
    """The queue is full."""
    return Problem(Code.SATURATED, f"{max_queue} jobs are waiting already; try again later")
