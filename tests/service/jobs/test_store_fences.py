"""No stale write is taken; what a dead worker or server held is picked up again, but not for ever."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from service.jobs.model import Job, JobError, JobState, NewJob
from service.jobs.sql import SqlJobStore
from service.jobs.store import Lease, Outcome

New = Callable[..., NewJob]
Ended = Callable[..., Outcome]

TOLD = {"step": 1, "steps": 2, "fraction": 0.5}


def claimed(store: SqlJobStore, new: NewJob, lease: float = 30) -> Job:
    store.submit(new, 10)
    (job,) = store.claim("w", lease, 1)
    return job


def writes(store: SqlJobStore, job: Job, ended: Outcome) -> dict[str, Callable[[], object]]:
    """Every fenced write, as the holder of the job's first claim would make it."""
    at = (job.id, job.fence)
    return {
        "started": lambda: store.started(*at, "cpu", 1),
        "progress": lambda: store.progress(*at, TOLD),
        "event": lambda: store.add_event(job.id, "warning", {}, job.fence),
        "preview": lambda: store.show(*at, {"b64": "AAAA"}),
        "succeed": lambda: store.succeed(*at, ended, 60),
        "fail": lambda: store.fail(*at, JobError("internal", ""), 60),
        "canceled": lambda: store.canceled(*at, 60),
        "release": lambda: store.release(*at, blame=False, retention_seconds=60),
    }


@pytest.mark.parametrize("since", ["claimed again", "queued again", "ended", "purged"])
def test_every_stale_write_is_refused_and_changes_nothing(
    store: SqlJobStore, new_job: New, outcome: Ended, since: str
) -> None:
    job = claimed(store, new_job(), lease=-1)
    if since in ("claimed again", "queued again"):
        store.recover(5, 60)
        if since == "claimed again":
            (again,) = store.claim("another", 30, 1)
            assert (again.id, again.fence) == (job.id, 2)
    else:
        store.succeed(job.id, job.fence, outcome(), 60)
        if since == "purged":
            store.purge(job.id)
    before = store.get(job.id), store.events(job.id)
    for name, write in writes(store, job, outcome(sha256="stale")).items():
        assert not write(), name
    assert store.renew(job.id, job.fence, 30) == Lease.LOST
    assert (store.get(job.id), store.events(job.id)) == before


def test_the_holder_of_the_claim_may_write(store: SqlJobStore, new_job: New, outcome: Ended) -> None:
    for name in writes(store, claimed(store, new_job()), outcome()):
        job = claimed(store, new_job())
        assert writes(store, job, outcome())[name](), name
        store.cancel(job.id, 0)
        for held in store.list(owner=None, state=JobState.RUNNING, cursor=None, limit=10).jobs:
            store.canceled(held.id, held.fence, 0)


def test_a_lease_that_is_renewed_is_kept_and_one_that_is_not_is_lost(store: SqlJobStore, new_job: New) -> None:
    kept, lost = claimed(store, new_job(), 0.2), claimed(store, new_job(), 0.2)
    assert store.renew(kept.id, kept.fence, 30) == Lease.HELD
    time.sleep(0.3)
    assert store.recover(5, 60) == []
    assert [store.get(job.id).state for job in (kept, lost)] == ["running", "queued"]  # type: ignore[union-attr]
    assert store.events(lost.id)[-1].data["code"] == "requeued"


def test_a_worker_known_to_be_dead_loses_its_leases_at_once(store: SqlJobStore, new_job: New) -> None:
    job = claimed(store, new_job(), 3600)
    assert store.workers() == ["w"]
    store.abandon("another")
    assert store.recover(5, 60) == []
    assert store.get(job.id).state == JobState.RUNNING  # type: ignore[union-attr]
    store.abandon("w")
    store.recover(5, 60)
    assert store.get(job.id).state == JobState.QUEUED  # type: ignore[union-attr]


def test_a_job_that_outlives_no_server_fails(store: SqlJobStore, new_job: New) -> None:
    store.submit(new_job(), 10)
    for attempt in (1, 2, 3):
        (job,) = store.claim("w", -1, 1)
        assert job.attempt == attempt
        failed = store.recover(3, 60)
    assert [(job.state, job.error.code if job.error else None) for job in failed] == [("failed", "worker_crashed")]
    assert store.events(job.id)[-1].data["error"]["code"] == "worker_crashed"
    assert store.claim("w", 30, 1) == []


def test_blame_counts_and_innocence_undoes_the_attempt(store: SqlJobStore, new_job: New) -> None:
    store.submit(new_job(), 10)
    counts = []
    for blame in (False, True, False, True):
        (job,) = store.claim("w", 30, 1)
        assert store.release(job.id, job.fence, blame=blame, retention_seconds=60)
        job = store.get(job.id)  # type: ignore[assignment]
        counts.append((job.state, job.attempt, job.crashes, job.fence))
    assert counts == [("queued", 0, 0, 1), ("queued", 1, 1, 2), ("queued", 1, 1, 3), ("queued", 2, 2, 4)]


def test_a_lost_machine_counts_as_an_attempt_and_blames_nobody(store: SqlJobStore, new_job: New) -> None:
    store.submit(new_job(), 10)
    for attempt in (1, 2):
        (job,) = store.claim("w", 30, 1)
        assert store.release(job.id, job.fence, blame=False, lost=True, retention_seconds=60)
        job = store.get(job.id)  # type: ignore[assignment]
        assert (job.state, job.attempt, job.crashes) == ("queued", attempt, 0)


@pytest.mark.parametrize("way", ["released", "recovered"])
def test_a_job_that_was_asked_to_stop_is_not_queued_again(store: SqlJobStore, new_job: New, way: str) -> None:
    job = claimed(store, new_job(), -1)
    store.cancel(job.id, 60)
    if way == "released":
        assert store.release(job.id, job.fence, blame=True, retention_seconds=60)
    else:
        assert store.recover(1, 60) == []
    assert store.get(job.id).state == JobState.CANCELED  # type: ignore[union-attr]


def test_event_ids_rise_over_attempts_and_the_latest_preview_is_among_them(store: SqlJobStore, new_job: New) -> None:
    job = claimed(store, new_job(), -1)
    store.started(job.id, 1, "cpu", 1)
    store.show(job.id, 1, {"b64": "AAAA"})
    store.show(job.id, 1, {"b64": "BBBB"})
    store.progress(job.id, 1, TOLD)
    found = [(event.id, event.type) for event in store.events(job.id)]
    assert found == [(1, "queued"), (2, "started"), (4, "preview"), (5, "progress")]
    assert store.events(job.id, after=3)[0].data == {"b64": "BBBB"}
    store.recover(5, 60)
    store.claim("w", 30, 1)
    store.started(job.id, 2, "cpu", 2)
    assert [event.id for event in store.events(job.id)] == [1, 2, 5, 6, 7]
    assert [event.id for event in store.events(job.id, after=5)] == [6, 7]


@pytest.mark.parametrize("way", ["succeeded", "released"])
def test_a_preview_goes_when_the_attempt_is_over(store: SqlJobStore, new_job: New, outcome: Ended, way: str) -> None:
    job = claimed(store, new_job(previews=True))
    store.show(job.id, 1, {"b64": "AAAA"})
    if way == "succeeded":
        store.succeed(job.id, 1, outcome(), 60)
    else:
        store.release(job.id, 1, blame=False, retention_seconds=60)
    assert "preview" not in {event.type for event in store.events(job.id)}
