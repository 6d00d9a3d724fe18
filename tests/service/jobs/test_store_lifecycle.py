"""A job from the queue to its end and after."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from service.jobs.model import JobError, JobState, NewJob, OutputOptions, Priority, Upload
from service.jobs.sql import SqlJobStore
from service.jobs.store import Cancellation, Lease, Outcome
from service.problems import Code, Problem

New = Callable[..., NewJob]
Ended = Callable[..., Outcome]


def test_a_job_is_stored_as_it_was_submitted(store: SqlJobStore, new_job: New) -> None:
    new = new_job(
        owner="key-1", prior="photo", priority=Priority.BATCH, output=OutputOptions("jpeg", 90, True), width=640,
        height=480, format="png", previews=True, webhook="https://example.com/", request_id="r", fingerprint="f",
        idempotency_key="k", parameters={"noise": None, "fidelity": 0.5, "kernel": [[1, 2]]},
    )  # fmt: skip
    before = datetime.now(UTC) - timedelta(seconds=1)
    submitted = store.submit(new, 10)
    job = store.get(submitted.job.id)
    assert not submitted.replayed
    assert job == submitted.job
    assert job is not None
    assert job.spec == new
    assert (job.state, job.attempt, job.fence) == (JobState.QUEUED, 0, 0)
    assert before < job.created_at < datetime.now(UTC) + timedelta(seconds=1)


def test_ids_are_uuids_of_version_7_and_sort_by_time(store: SqlJobStore, new_job: New) -> None:
    ids = [store.submit(new_job(), 100).job.id for _ in range(20)]
    assert ids == sorted(ids)
    assert {uuid.UUID(job_id).version for job_id in ids} == {7}
    stamp = uuid.UUID(ids[0]).int >> 80
    assert abs(stamp / 1000 - datetime.now(UTC).timestamp()) < 60


def test_a_succeeded_job_keeps_its_outcome(store: SqlJobStore, new_job: New, outcome: Ended) -> None:
    store.submit(new_job(), 10)
    (job,) = store.claim("w", 30, 1)
    assert (job.state, job.attempt, job.fence) == (JobState.RUNNING, 1, 1)
    assert store.started(job.id, job.fence, "cuda:0", job.attempt)
    assert store.progress(job.id, job.fence, {"step": 3, "steps": 8, "fraction": 0.4})
    running = store.get(job.id)
    assert running is not None
    assert (running.step, running.steps, running.fraction, running.device) == (3, 8, 0.4, "cuda:0")
    ended = outcome()
    assert store.succeed(job.id, job.fence, ended, 3600)
    done = store.get(job.id)
    assert done is not None
    assert done.state == JobState.SUCCEEDED
    for name in Outcome.__dataclass_fields__:
        assert getattr(done, name) == getattr(ended, name)
    assert done.finished_at is not None and done.expires_at is not None
    assert done.expires_at - done.finished_at == timedelta(seconds=3600)
    assert [(event.id, event.type) for event in store.events(job.id)] == [
        (1, "queued"), (2, "started"), (3, "progress"), (4, "completed")]  # fmt: skip
    assert store.events(job.id)[-1].data == {"state": "succeeded"}


def test_a_failed_job_says_why(store: SqlJobStore, new_job: New) -> None:
    store.submit(new_job(), 10)
    (job,) = store.claim("w", 30, 1)
    assert store.fail(job.id, job.fence, JobError("numerical", "not a number"), 60)
    done = store.get(job.id)
    assert done is not None
    assert (done.state, done.error) == (JobState.FAILED, JobError("numerical", "not a number"))
    assert store.events(job.id)[-1].data["error"]["code"] == "numerical"


def test_interactive_jobs_go_first_and_old_before_young(store: SqlJobStore, new_job: New) -> None:
    slow = [store.submit(new_job(priority=Priority.BATCH), 10).job.id for _ in range(2)]
    fast = [store.submit(new_job(), 10).job.id for _ in range(2)]
    assert [store.position(job_id) for job_id in (*fast, *slow)] == [0, 1, 2, 3]
    assert [job.id for job in store.claim("w", 30, 3)] == [*fast, slow[0]]
    assert store.queued() == {"interactive": 0, "batch": 1}
    assert store.position(fast[0]) is None


@pytest.mark.parametrize("at_once", [1, 3, 4, 7])
def test_batch_jobs_get_a_quarter_of_the_claims_while_both_wait(store: SqlJobStore, new_job: New, at_once: int) -> None:
    for _ in range(28):
        store.submit(new_job(), 100)
        store.submit(new_job(priority=Priority.BATCH), 100)
    claimed = [job for _ in range(28 // at_once) for job in store.claim("w", 30, at_once)]
    batch = sum(job.spec.priority == Priority.BATCH for job in claimed)
    assert batch == len(claimed) // 4


def test_batch_jobs_take_all_claims_while_alone(store: SqlJobStore, new_job: New) -> None:
    for _ in range(5):
        store.submit(new_job(priority=Priority.BATCH), 100)
    assert len(store.claim("w", 30, 8)) == 5


def test_a_queued_job_is_canceled_at_once_and_a_running_one_is_asked(store: SqlJobStore, new_job: New) -> None:
    queued = store.submit(new_job(priority=Priority.BATCH), 10).job
    running = store.submit(new_job(), 10).job
    (claimed,) = store.claim("w", 30, 1)
    assert claimed.id == running.id
    assert store.cancel(queued.id, 60) == Cancellation.CANCELED
    assert store.cancel(queued.id, 60) == Cancellation.ENDED
    assert store.cancel(running.id, 60) == Cancellation.REQUESTED
    assert store.cancel(str(uuid.uuid4()), 60) == Cancellation.UNKNOWN
    assert store.cancellations("w") == [(running.id, 1)]
    assert store.cancellations("another") == []
    assert store.renew(running.id, 1, 30) == Lease.CANCEL
    assert store.canceled(running.id, 1, 60)
    assert [store.get(job.id).state for job in (queued, running)] == ["canceled"] * 2  # type: ignore[union-attr]
    assert [store.events(job.id)[-1].data for job in (queued, running)] == [{"state": "canceled"}] * 2
    assert store.claim("w", 30, 10) == []


def test_pages_hold_each_job_once_newest_first(store: SqlJobStore, new_job: New) -> None:
    ids = [store.submit(new_job(owner="a" if n % 3 else "b"), 100).job.id for n in range(10)]
    store.cancel(ids[4], 60)
    seen, cursor = [], None
    while True:
        page = store.list(owner="a", state=None, cursor=cursor, limit=2)
        seen += [job.id for job in page.jobs]
        cursor = page.next_cursor
        if cursor is None:
            break
        store.submit(new_job(owner="a"), 100)  # new jobs do not shift the pages
    assert seen == [job_id for n, job_id in reversed(list(enumerate(ids))) if n % 3]
    canceled = store.list(owner=None, state=JobState.CANCELED, cursor=None, limit=10)
    assert ([job.id for job in canceled.jobs], canceled.next_cursor) == ([ids[4]], None)
    assert store.list(owner="nobody", state=None, cursor=None, limit=10).jobs == []
    with pytest.raises(Problem) as caught:
        store.list(owner="a", state=None, cursor="' OR 1=1", limit=2)
    assert caught.value.code == Code.INVALID_PARAMETER


def test_unknown_jobs_are_none(store: SqlJobStore) -> None:
    for job_id in (str(uuid.uuid4()), "x" * 500, ""):
        assert store.get(job_id) is None
        assert store.position(job_id) is None
        assert store.purge(job_id) is None
        assert store.events(job_id) == []


def test_active_jobs_are_counted_by_owner(store: SqlJobStore, new_job: New, outcome: Ended) -> None:
    for owner in ("a", "a", "b", "a"):
        store.submit(new_job(owner=owner), 10)
    (job,) = store.claim("w", 30, 1)
    assert (store.active("a"), store.active("b"), store.active("c")) == (3, 1, 0)
    store.succeed(job.id, job.fence, outcome(), 60)
    assert store.active("a") == 2


def test_a_full_queue_is_saturated_and_an_owner_has_a_quota(store: SqlJobStore, new_job: New) -> None:
    first = store.submit(new_job(owner="a", idempotency_key="k"), 2, 1).job
    with pytest.raises(Problem) as caught:
        store.submit(new_job(owner="a"), 2, 1)
    assert caught.value.code == Code.QUOTA
    store.submit(new_job(owner="b"), 2, 1)
    with pytest.raises(Problem) as caught:
        store.submit(new_job(owner="c"), 2, 1)
    assert caught.value.code == Code.SATURATED
    assert store.submit(new_job(owner="a", idempotency_key="k"), 2, 1).job.id == first.id


def test_purging_forgets_files_and_events(store: SqlJobStore, new_job: New, outcome: Ended) -> None:
    done, waiting, running = (store.submit(new_job(inputs={"image": f"input/{n}"}), 10).job for n in "abc")
    store.claim("w", 30, 1)
    store.succeed(done.id, 1, outcome(), 3600)
    assert store.purge(done.id) == ["input/a", "result/a", "report/a"]
    assert store.purge(waiting.id) == ["input/b"]
    store.claim("w", 30, 1)
    assert store.purge(running.id) is None
    assert sorted(store.garbage()) == ["input/a", "input/b", "report/a", "result/a"]
    for job_id in (done.id, waiting.id):
        job = store.get(job_id)
        assert job is not None
        assert (job.state, job.outputs, job.spec.inputs) == (JobState.EXPIRED, {}, {})
        assert [event.type for event in store.events(job_id)] == ["completed"]
    assert store.purge(done.id) == []
    store.forget(["input/a", "result/a"])
    assert sorted(store.garbage()) == ["input/b", "report/a"]


def test_results_expire_after_their_retention(store: SqlJobStore, new_job: New, outcome: Ended) -> None:
    old, young = (store.submit(new_job(inputs={"image": f"input/{n}"}), 10).job for n in "ab")
    store.claim("w", 30, 2)
    store.succeed(old.id, 1, outcome(outputs={"result": "result/old"}), 0)
    store.succeed(young.id, 1, outcome(outputs={"result": "result/young"}), 3600)
    assert store.expire() == ["input/a", "result/old"]
    assert store.expire() == []
    states = [store.get(job.id).state for job in (old, young)]  # type: ignore[union-attr]
    assert states == [JobState.EXPIRED, JobState.SUCCEEDED]


def test_uploads_are_their_owners_and_expire(store: SqlJobStore) -> None:
    now = datetime.now(UTC)
    fresh = Upload("u1", "a", "upload/1", "png", 3, 4, 100, "00", now, now + timedelta(hours=1))
    stale = Upload("u2", "a", "upload/2", "png", 3, 4, 100, "00", now, now - timedelta(seconds=1))
    store.add_upload(fresh)
    store.add_upload(stale)
    assert store.upload("u1", "a") == fresh
    assert store.upload("u1", "b") is None
    assert store.upload("u2", "a") is None
    assert store.expire() == ["upload/2"]
    assert store.garbage() == ["upload/2"]


def test_throughput_counts_jobs_that_were_run(store: SqlJobStore, new_job: New, outcome: Ended) -> None:
    for _ in range(4):
        store.submit(new_job(), 10)
    for job in store.claim("w", 30, 3):
        store.succeed(job.id, job.fence, outcome(), 60)
    store.cancel(store.list(owner=None, state=JobState.QUEUED, cursor=None, limit=1).jobs[0].id, 60)
    assert store.throughput(60) == pytest.approx(3 / 60)
