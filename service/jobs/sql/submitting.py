"""Taking jobs in, and handing them out."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, update
from sqlalchemy.sql.dml import ReturningUpdate

from service.jobs.database import Database
from service.jobs.ids import uuid7
from service.jobs.model import Job, JobState, NewJob
from service.jobs.notices import Kind, announce
from service.jobs.rows import job_from_row, spec_to_json
from service.jobs.sql.base import Part, waiting
from service.jobs.sql.reading import active
from service.jobs.store import Claim, Submission
from service.jobs.tables import PRIORITIES, jobs
from service.jobs.transitions import store_event
from service.problems import Code, Problem

#: While both wait, one of so many claims takes a batch job: enough that none starves, little enough that interactive
#: jobs lose a quarter of the machine at most.
BATCH_SHARE = 4

# Statements of every request's way are built once: building them takes longer than executing them.
_INSERT = insert(jobs).returning(jobs)


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


class Submitting(Part):
    """See `service.jobs.store.JobStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._claimed = 0
        self._counting = threading.Lock()

    def submit(
        self, new: NewJob, max_queue: int, max_active: int | None = None, claim: Claim | None = None
    ) -> Submission:
        with self._database.write() as connection:
            self._database.serialise_submissions(connection)
            earlier = self._earlier(connection, new)
            if earlier is not None:
                return Submission(earlier, True)
            before = waiting(connection)
            if sum(before.values()) >= max_queue:
                raise saturated(max_queue)
            if max_active is not None and active(connection, new.owner) >= max_active:
                raise Problem(
                    Code.QUOTA, f"this key has {max_active} jobs queued or running already; wait for one to end"
                )
            job = self._store(connection, new, before, None if any(before.values()) else claim)
        if job.state is JobState.RUNNING:
            self._count(1)
        return Submission(job, False)

    def _store(self, connection: Connection, new: NewJob, before: dict[int, int], claim: Claim | None) -> Job:
        """A new job, behind those that wait, or claimed at once."""
        now, job_id, rank = self._database.now(connection), uuid7(), PRIORITIES[new.priority]
        values: dict[str, Any] = {
            "id": job_id,
            "owner": new.owner,
            "state": JobState.QUEUED,
            "priority": rank,
            "idempotency_key": new.idempotency_key,
            "fingerprint": new.fingerprint,
            "spec": spec_to_json(new),
            "created_at": now,
            "last_event": 1,
        }
        if claim is not None:
            until = now + timedelta(seconds=claim.lease_seconds)
            values |= {"state": JobState.RUNNING, "worker": claim.worker, "lease_until": until}
            values |= {"started_at": now, "attempt": 1, "fence": 1}
        row = connection.execute(_INSERT, values).one()
        # Its id is later than the others', but for the clocks of several servers: no less urgent ones go first.
        position = sum(number for other, number in before.items() if other <= rank)
        store_event(connection, job_id, 1, "queued", {"position": position}, now)
        if claim is None:
            announce(connection, Kind.WORK, job_id)
        return job_from_row(row)

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

    def claim(self, worker: str, lease_seconds: float, limit: int) -> Sequence[Job]:
        with self._counting:
            share = (self._claimed + limit) // BATCH_SHARE - self._claimed // BATCH_SHARE
        with self._database.write(durable=False) as connection:
            batch = PRIORITIES["batch"]
            shared: Sequence[Job] = ()
            if share and batch in waiting(connection):
                shared = self._take(connection, worker, lease_seconds, share, batch)
            taken = [*shared, *self._take(connection, worker, lease_seconds, limit - len(shared), None)]
        self._count(len(taken))
        return sorted(taken, key=lambda job: (PRIORITIES[job.spec.priority], job.id))

    def _count(self, claimed: int) -> None:
        with self._counting:
            self._claimed += claimed

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


def saturated(max_queue: int) -> Problem:
    """The queue is full."""
    return Problem(Code.SATURATED, f"{max_queue} jobs are waiting already; try again later")
