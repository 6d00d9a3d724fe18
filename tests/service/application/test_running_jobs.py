"""Jobs through the service: queued, run, told about, ended."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import pytest

from service.application import RestorationService
from service.jobs.model import Event, Job, JobState, NewJob, Priority
from service.jobs.store import Cancellation
from service.problems import Code, Problem

Open = Callable[..., Any]
New = Callable[..., NewJob]
Run = Callable[[Callable[[], Awaitable[None]]], None]


async def finish(service: RestorationService, new: NewJob) -> Job:
    submission = await service.submit(new)
    return await service.wait(submission.job.id)


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


def test_a_job_runs_and_its_result_can_be_read(serving: Open, new_job: New, run: Run) -> None:
    async def test() -> None:
        async with serving() as service:
            job = await finish(service, new_job(service, b"abc", parameters={"warn": True}))
            assert job.state is JobState.SUCCEEDED
            assert service.blobs.get(job.outputs["result"]) == b"cba"
            assert job.effective == {"seed": 1}
            assert {"queue", "decode", "restore", "encode", "nfe"} == set(job.metrics)
            events = [event async for event in service.watch(job.id)]
            assert [event.type for event in events] == ["queued", "started", "warning", "completed"]
            assert [event.id for event in events] == [1, 2, 3, 4]
            again = [event async for event in service.watch(job.id, after=2)]
            assert [event.id for event in again] == [3, 4]
            assert [event async for event in service.watch(job.id, after=4)] == []

    run(test)


def test_watching_tells_progress_as_it_happens(serving: Open, new_job: New, run: Run) -> None:
    async def test() -> None:
        async with serving() as service:
            new = new_job(service, parameters={"steps": 40, "seconds": 0.02}, previews=True)
            job = (await service.submit(new)).job
            events: list[Event] = [event async for event in service.watch(job.id)]
            assert [event.id for event in events] == sorted({event.id for event in events})
            kinds = [event.type for event in events]
            assert (kinds[0], kinds[1], kinds[-1]) == ("queued", "started", "completed")
            progress = [event.data for event in events if event.type == "progress"]
            assert 2 <= len(progress) <= 12  # of 40 steps: as many as a person can see
            assert all(before["step"] < after["step"] for before, after in pairwise(progress))
            assert progress[0]["steps"] == 40
            assert progress[0]["fraction"] == pytest.approx(progress[0]["step"] / 40, abs=1e-4)
            assert 0 < progress[0]["eta_s"] < 60
            previews = [event.data for event in events if event.type == "preview"]
            assert previews and previews[0]["b64"] == "AAAA"
            stored = await asyncio.to_thread(service.store.events, job.id)
            assert "preview" not in {event.type for event in stored}

    run(test)


def test_a_job_of_a_single_call_tells_how_much_of_it_is_done(serving: Open, new_job: New, run: Run) -> None:
    async def test() -> None:
        async with serving() as service:
            new = new_job(service, parameters={"steps": 1, "parts": 40, "seconds": 0.02})
            job_id = (await service.submit(new)).job.id
            told: list[dict[str, Any]] = []
            async for event in service.watch(job_id):
                if event.type == "progress":
                    told.append(event.data)
                    stored = await asyncio.to_thread(service.store.get, job_id)
                    assert stored is not None and stored.fraction >= event.data["fraction"]
            within = [data for data in told if data["step"] == 0]
            assert len(within) >= 2
            assert all(a["fraction"] < b["fraction"] for a, b in pairwise(within))
            assert all(0 < data["fraction"] < 1 and 0 < data["eta_s"] < 60 for data in within)

    run(test)


@pytest.mark.parametrize("code", [Code.NUMERICAL, Code.OUT_OF_MEMORY])
def test_a_failure_is_stored_with_its_code(serving: Open, new_job: New, run: Run, code: Code) -> None:
    async def test() -> None:
        async with serving() as service:
            job = await finish(service, new_job(service, parameters={"fail": code.value}))
            assert (job.state, job.error and job.error.code) == (JobState.FAILED, code.value)

    run(test)


@pytest.mark.parametrize(("crashes", "state"), [(1, "succeeded"), (2, "failed")])
def test_a_job_that_kills_its_worker_is_tried_twice(
    serving: Open, new_job: New, run: Run, crashes: int, state: str
) -> None:
    async def test() -> None:
        async with serving(max_attempts=2) as service:
            job = await finish(service, new_job(service, parameters={"crash": crashes}))
            assert job.state == state
            assert service.engine.starts[job.id] == 2
            if state == "failed":
                assert job.error is not None
                assert job.error.code == Code.WORKER_CRASHED
            else:
                assert job.attempt == 2

    run(test)


@pytest.mark.parametrize(("machines", "state"), [(4, "succeeded"), (9, "failed")])
def test_a_job_that_takes_machines_down_does_not_do_so_for_ever(
    serving: Open, new_job: New, run: Run, machines: int, state: str
) -> None:
    async def test() -> None:
        async with serving(max_attempts=2) as service:
            job = await finish(service, new_job(service, parameters={"machines": machines}))
            assert (job.state, service.engine.starts[job.id]) == (state, 5)
            if state == "failed":
                assert job.error is not None
                assert "5 attempts ended with the machine" in job.error.message

    run(test)


@pytest.mark.parametrize("trouble", ["lose", "burst"])
def test_an_engine_that_breaks_its_word_ends_no_server(serving: Open, new_job: New, run: Run, trouble: str) -> None:
    async def test() -> None:
        async with serving(max_attempts=2) as service:
            job = await finish(service, new_job(service, parameters={trouble: True}))
            assert job.error is not None
            assert job.error.code == Code.WORKER_CRASHED
            assert (await finish(service, new_job(service))).state is JobState.SUCCEEDED

    run(test)


def test_no_more_jobs_run_than_the_engine_has_slots(serving: Open, new_job: New, run: Run) -> None:
    async def test() -> None:
        async with serving(slots=3) as service:
            parameters = {"steps": 3, "seconds": 0.01}
            jobs = [(await service.submit(new_job(service, parameters=parameters))).job for _ in range(12)]
            ended = await asyncio.gather(*(service.wait(job.id) for job in jobs))
            assert {job.state for job in ended} == {JobState.SUCCEEDED}
            assert service.engine.most_at_once == 3
            assert service.engine.order == [job.id for job in jobs]

    run(test)


def test_interactive_jobs_overtake_batch_jobs(serving: Open, new_job: New, run: Run) -> None:
    async def test() -> None:
        async with serving(slots=1) as service:
            parameters = {"steps": 1, "seconds": 0.05}
            blocker = (await service.submit(new_job(service, parameters=parameters))).job
            batch = [(await service.submit(new_job(service, priority=Priority.BATCH))).job.id for _ in range(2)]
            fast = [(await service.submit(new_job(service))).job.id for _ in range(4)]
            await asyncio.gather(*(service.wait(job_id) for job_id in (blocker.id, *batch, *fast)))
            order = service.engine.order
            assert order[0] == blocker.id
            assert order.index(batch[0]) in (3, 4)  # every fourth claim
            assert order.index(batch[1]) > order.index(fast[2])

    run(test)


def test_a_running_job_is_canceled_within_one_step_and_its_slot_is_free(serving: Open, new_job: New, run: Run) -> None:
    async def test() -> None:
        async with serving(slots=1) as service:
            job = (await service.submit(new_job(service, parameters={"steps": 1000, "seconds": 0.02}))).job
            await until(lambda: service.engine.steps >= 3)
            done = service.engine.steps
            assert await service.cancel(job.id) is Cancellation.REQUESTED
            ended = await service.wait(job.id)
            assert ended.state is JobState.CANCELED
            assert service.engine.steps <= done + 2
            assert await service.cancel(job.id) is Cancellation.ENDED
            assert (await finish(service, new_job(service))).state is JobState.SUCCEEDED

    run(test)


def test_a_queued_job_is_canceled_without_being_started(serving: Open, new_job: New, run: Run) -> None:
    async def test() -> None:
        async with serving(slots=0) as service:
            job = (await service.submit(new_job(service))).job
            waiting = asyncio.create_task(service.wait(job.id))
            await asyncio.sleep(0.05)
            assert await service.cancel(job.id) is Cancellation.CANCELED
            assert (await waiting).state is JobState.CANCELED
            assert service.engine.starts == {}
            assert await service.cancel("unknown") is Cancellation.UNKNOWN

    run(test)


def test_waiting_ends_when_the_time_is_over(serving: Open, new_job: New, run: Run) -> None:
    async def test() -> None:
        async with serving(slots=0) as service:
            job = (await service.submit(new_job(service))).job
            for seconds in (0.0, 0.05):
                assert (await service.wait(job.id, seconds)).state is JobState.QUEUED
            with pytest.raises(Problem) as caught:
                await service.wait("unknown")
            assert caught.value.code is Code.NOT_FOUND
            with pytest.raises(Problem) as caught:
                await anext(service.watch("unknown"))
            assert caught.value.code is Code.NOT_FOUND

    run(test)


def test_a_full_queue_says_when_to_come_back(serving: Open, new_job: New, run: Run) -> None:
    async def test() -> None:
        async with serving(slots=1, max_queue=4, jobs_per_key=100) as service:
            await service.admit()
            for _ in range(6):  # measured: 6 jobs in the last minute
                await finish(service, new_job(service))
            blocker = (await service.submit(new_job(service, parameters={"steps": 1000, "seconds": 0.02}))).job
            await until(lambda: service.engine.steps > 12)
            for _ in range(4):
                await service.submit(new_job(service))
            for refused in (service.submit(new_job(service)), service.admit()):
                with pytest.raises(Problem) as caught:
                    await refused
                assert caught.value.code is Code.SATURATED
                assert caught.value.retry_after == pytest.approx(2 / (6 / 60))  # half the queue at that rate
            await service.cancel(blocker.id)

    run(test)


def test_a_key_has_so_many_jobs_and_no_more(serving: Open, new_job: New, run: Run) -> None:
    async def test() -> None:
        async with serving(slots=0, jobs_per_key=2) as service:
            for _ in range(2):
                await service.submit(new_job(service, owner="a"))
            with pytest.raises(Problem) as caught:
                await service.submit(new_job(service, owner="a"))
            assert caught.value.code is Code.QUOTA
            assert caught.value.retry_after == 30  # nothing was measured yet
            for _ in range(3):
                await service.submit(new_job(service))  # without keys there are no owners to be fair to

    run(test)


def test_ended_jobs_are_counted(serving: Open, new_job: New, run: Run) -> None:
    async def test() -> None:
        async with serving(slots=1) as service:
            await finish(service, new_job(service))
            await finish(service, new_job(service, parameters={"fail": "numerical"}))
            job = (await service.submit(new_job(service, parameters={"steps": 1000, "seconds": 0.01}))).job
            queued = (await service.submit(new_job(service, priority=Priority.BATCH))).job
            await service.cancel(queued.id)
            await service.cancel(job.id)
            await service.wait(job.id)
            text = service.metrics.exposition()[0].decode()
            for outcome, number in (("succeeded", 1), ("failed", 1), ("canceled", 2)):
                assert f'pellucid_jobs_total{{outcome="{outcome}",task="denoise"}} {number}.0' in text

    run(test)
