"""Many at once: threads of several servers on one database."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service.jobs.database import Database
from service.jobs.model import JobState, NewJob
from service.jobs.sql import SqlJobStore
from service.jobs.store import Outcome
from service.problems import Code, Problem

New = Callable[..., NewJob]
Stores = Callable[[], SqlJobStore]


def test_fifty_identical_submissions_make_one_job(stores: Stores, new_job: New) -> None:
    servers = [stores(), stores()]
    barrier = threading.Barrier(50)

    def submit(n: int) -> tuple[str, bool]:
        barrier.wait()
        found = servers[n % 2].submit(new_job(owner="a", idempotency_key="k", fingerprint="f"), 100)
        return found.job.id, found.replayed

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(submit, range(50)))
    assert len({job_id for job_id, _ in answers}) == 1
    assert Counter(replayed for _, replayed in answers) == {True: 49, False: 1}
    assert len(servers[0].list(owner=None, state=None, cursor=None, limit=100).jobs) == 1


def test_a_key_with_another_payload_is_refused_and_other_owners_have_their_own(
    store: SqlJobStore, new_job: New
) -> None:
    first = store.submit(new_job(owner="a", idempotency_key="k", fingerprint="f"), 100)
    with pytest.raises(Problem) as caught:
        store.submit(new_job(owner="a", idempotency_key="k", fingerprint="g"), 100)
    assert caught.value.code == Code.IDEMPOTENCY_MISMATCH
    other = store.submit(new_job(owner="b", idempotency_key="k", fingerprint="g"), 100)
    assert not other.replayed
    assert other.job.id != first.job.id


@pytest.mark.parametrize("end", ["canceled", "expired", "purged"])
def test_canceled_and_expired_jobs_give_their_key_back(
    store: SqlJobStore, new_job: New, outcome: Callable[..., Outcome], end: str
) -> None:
    first = store.submit(new_job(owner="a", idempotency_key="k", fingerprint="f"), 100).job
    if end == "canceled":
        store.cancel(first.id, 3600)
    else:
        store.claim("w", 30, 1)
        store.succeed(first.id, 1, outcome(), 0 if end == "expired" else 3600)
        _ = store.expire() if end == "expired" else store.purge(first.id)
    again = store.submit(new_job(owner="a", idempotency_key="k", fingerprint="g"), 100)
    assert not again.replayed
    assert again.job.id != first.id


@pytest.mark.parametrize("way", ["succeeded", "failed"])
def test_ended_jobs_are_replayed_until_they_expire(
    store: SqlJobStore, new_job: New, outcome: Callable[..., Outcome], way: str
) -> None:
    from service.jobs.model import JobError

    new = new_job(owner="a", idempotency_key="k", fingerprint="f")
    first = store.submit(new, 100).job
    store.claim("w", 30, 1)
    if way == "succeeded":
        store.succeed(first.id, 1, outcome(), 3600)
    else:
        store.fail(first.id, 1, JobError("internal", ""), 3600)
    again = store.submit(new, 100)
    assert again.replayed
    assert (again.job.id, again.job.state) == (first.id, way)


def test_each_job_is_claimed_once(stores: Stores, new_job: New) -> None:
    servers = [stores() for _ in range(4)]
    for _ in range(60):
        servers[0].submit(new_job(), 100)

    def work(n: int) -> list[str]:
        mine: list[str] = []
        while jobs := servers[n].claim(f"w{n}", 30, 3):
            assert len(jobs) <= 3
            mine += [job.id for job in jobs]
        return mine

    with ThreadPoolExecutor(4) as pool:
        claims = [job_id for mine in pool.map(work, range(4)) for job_id in mine]
    assert len(claims) == len(set(claims)) == 60
    running = servers[0].list(owner=None, state=JobState.RUNNING, cursor=None, limit=100).jobs
    assert {(job.attempt, job.fence) for job in running} == {(1, 1)}


def test_the_queue_limit_holds_among_concurrent_submissions(stores: Stores, new_job: New) -> None:
    servers = [stores(), stores()]

    def submit(n: int) -> bool:
        try:
            servers[n % 2].submit(new_job(owner="a"), 10, 7)
        except Problem as problem:
            assert problem.code == Code.QUOTA
            return False
        return True

    with ThreadPoolExecutor(30) as pool:
        assert sum(pool.map(submit, range(30))) == 7


def test_of_competing_ends_one_wins(stores: Stores, new_job: New, outcome: Callable[..., Outcome]) -> None:
    servers = [stores(), stores()]
    for _ in range(10):
        job = servers[0].submit(new_job(), 100).job
        (held,) = servers[0].claim("w", 30, 1)
        ends = [
            lambda held=held: servers[0].succeed(held.id, held.fence, outcome(), 60),
            lambda held=held: servers[1].canceled(held.id, held.fence, 60),
            lambda held=held: servers[1].release(held.id, held.fence, blame=False, retention_seconds=60),
        ]
        with ThreadPoolExecutor(3) as pool:
            won = sum(pool.map(lambda end: bool(end()), ends))
        assert won == 1
        assert sum(event.type == "completed" for event in servers[0].events(job.id)) <= 1
        servers[0].purge(job.id)


def test_events_written_at_once_have_ids_of_their_own(stores: Stores, new_job: New) -> None:
    servers = [stores(), stores()]
    servers[0].submit(new_job(), 100)
    (job,) = servers[0].claim("w", 30, 1)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: servers[n % 2].add_event(job.id, "warning", {"n": n}, 1), range(40)))
    events = servers[0].events(job.id)
    assert [event.id for event in events] == list(range(1, 42))
    assert sorted(event.data["n"] for event in events[1:]) == list(range(40))


def test_a_new_file_is_opened_by_many_at_the_same_moment(tmp_path: Path) -> None:
    """One connection makes it a file with a write-ahead log; SQLite lets the others not even wait for that."""
    for attempt in range(60):
        databases = [Database(f"sqlite:///{tmp_path}/{attempt}.db") for _ in range(8)]
        together = threading.Barrier(len(databases))

        def use(database: Database, together: threading.Barrier = together) -> None:
            together.wait()
            with database.write() as connection:
                connection.exec_driver_sql("SELECT 1")

        with ThreadPoolExecutor(len(databases)) as pool:
            list(pool.map(use, databases))
        for database in databases:
            database.close()
