"""A submission by whom has room for it: claimed in the transaction that stores it, unless somebody waits."""

from __future__ import annotations

from collections.abc import Callable

from service.jobs.model import JobState, NewJob, Priority
from service.jobs.sql import SqlJobStore
from service.jobs.store import Claim, Lease, Outcome

New = Callable[..., NewJob]
MINE = Claim("me", 30.0)


def test_with_nobody_waiting_the_job_runs_at_once(
    store: SqlJobStore, new_job: New, outcome: Callable[..., Outcome]
) -> None:
    job = store.submit(new_job(), 10, claim=MINE).job
    assert job == store.get(job.id)
    assert (job.state, job.attempt, job.fence) == (JobState.RUNNING, 1, 1)
    assert job.started_at == job.created_at
    assert [(event.type, event.data) for event in store.events(job.id)] == [("queued", {"position": 0})]
    assert store.workers() == ["me"]
    assert store.claim("other", 30.0, 10) == []
    assert store.renew(job.id, 1, 30.0) is Lease.HELD
    store.abandon("me")
    store.recover(5, 60.0)
    (again,) = store.claim("other", 30.0, 10)
    assert (again.id, again.attempt, again.fence) == (job.id, 2, 2)
    assert store.succeed(job.id, 1, outcome(), 60.0) is None, "the first claim is over"
    ended = store.succeed(job.id, 2, outcome(), 60.0)
    assert ended == store.get(job.id) and ended is not None and ended.state is JobState.SUCCEEDED


def test_nobody_who_waits_is_overtaken(store: SqlJobStore, new_job: New) -> None:
    batch = store.submit(new_job(priority=Priority.BATCH), 10).job
    late = store.submit(new_job(), 10, claim=MINE).job
    assert late.state is JobState.QUEUED
    assert {job.id for job in store.claim("me", 30.0, 10)} == {batch.id, late.id}


def test_an_earlier_job_of_the_key_is_found_and_not_claimed(store: SqlJobStore, new_job: New) -> None:
    new = new_job(idempotency_key="k", fingerprint="f")
    first = store.submit(new, 10).job
    assert [job.id for job in store.claim("other", 30.0, 10)] == [first.id]
    again = store.submit(new, 10, claim=MINE)
    assert (again.job.id, again.replayed, again.job.fence) == (first.id, True, 1)
    assert store.workers() == ["other"]


def test_such_claims_count_for_the_share_of_the_batch(store: SqlJobStore, new_job: New) -> None:
    for _ in range(3):
        store.submit(new_job(), 10, claim=MINE)
    batch = store.submit(new_job(priority=Priority.BATCH), 10).job
    store.submit(new_job(), 10)
    assert [job.id for job in store.claim("me", 30.0, 1)] == [batch.id], "every fourth claim"
