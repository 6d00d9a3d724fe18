"""Submissions that find a free slot: begun without the queue, and never lost on the way."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

from service.jobs.model import JobState, NewJob
from service.jobs.store import Cancellation

Open = Callable[..., Any]
New = Callable[..., NewJob]
Run = Callable[[Callable[[], Awaitable[None]]], None]


class Held:
    """Holds up the end of a store's method, in its thread, until it is let go."""

    def __init__(self, store: Any, name: str) -> None:
        self.entered, self.open = threading.Event(), threading.Event()
        method = getattr(store, name)

        def held(*args: Any, **kwargs: Any) -> Any:
            found = method(*args, **kwargs)
            self.entered.set()
            assert self.open.wait(30)
            return found

        setattr(store, name, held)

    async def inside(self) -> None:
        while not self.entered.is_set():
            await asyncio.sleep(0.002)


def counted(store: Any, name: str) -> list[str]:
    """Calls of a store's method."""
    calls, method = [], getattr(store, name)

    def counting(*args: Any, **kwargs: Any) -> Any:
        calls.append(name)
        return method(*args, **kwargs)

    setattr(store, name, counting)
    return calls


def test_a_job_with_a_free_slot_is_not_claimed_a_second_time_nor_looked_at(
    serving: Open, new_job: New, run: Run
) -> None:
    async def test() -> None:
        async with serving(slots=2) as service:
            claims, looks = counted(service.store, "claim"), counted(service.store, "get")
            submission = await service.submit(new_job(service, parameters={"steps": 3, "seconds": 0.02}))
            assert submission.job.state is JobState.RUNNING
            job = await service.wait(submission.job.id, fresh=True)
            assert (job.state, job.attempt) == (JobState.SUCCEEDED, 1)
            assert (claims, looks) == ([], [])
            assert job == await asyncio.to_thread(service.store.get, job.id)

    run(test)


def test_many_at_once_never_get_more_slots_than_there_are(serving: Open, new_job: New, run: Run) -> None:
    async def test() -> None:
        async with serving(slots=3) as service:
            new = [new_job(service, parameters={"steps": 2, "seconds": 0.01}) for _ in range(20)]
            jobs = [s.job for s in await asyncio.gather(*(service.submit(each) for each in new))]
            ended = await asyncio.gather(*(service.wait(job.id) for job in jobs))
            assert {(job.state, job.attempt) for job in ended} == {(JobState.SUCCEEDED, 1)}
            assert service.engine.most_at_once <= 3
            assert sorted(service.engine.order) == sorted(job.id for job in jobs), "each was begun once"

    run(test)


def test_whoever_goes_away_while_submitting_leaves_no_claim_without_work(serving: Open, new_job: New, run: Run) -> None:
    async def test() -> None:
        async with serving(slots=1) as service:
            held = Held(service.store, "submit")
            caller = asyncio.create_task(service.submit(new_job(service)))
            await held.inside()
            caller.cancel()
            await asyncio.gather(caller, return_exceptions=True)
            held.open.set()
            while not (jobs := service.store.list(owner=None, state=JobState.SUCCEEDED, cursor=None, limit=9).jobs):
                await asyncio.sleep(0.01)
            assert len(jobs) == 1

    run(test)


def test_a_claim_that_comes_while_draining_is_given_back(serving: Open, new_job: New, run: Run) -> None:
    async def test() -> None:
        async with serving(slots=1) as service:
            held = Held(service.store, "submit")
            submitting = asyncio.create_task(service.submit(new_job(service)))
            await held.inside()
            draining = asyncio.create_task(service.drain())
            await asyncio.sleep(0.02)
            held.open.set()
            job = (await submitting).job
            await draining
            kept = service.store.get(job.id)
            assert (kept.state, kept.attempt) == (JobState.QUEUED, 0)
            assert service.engine.order == []

    run(test)


def test_a_job_that_is_canceled_before_it_is_begun_here_stops(serving: Open, new_job: New, run: Run) -> None:
    async def test() -> None:
        async with serving(slots=1) as service:
            held = Held(service.store, "submit")
            submitting = asyncio.create_task(
                service.submit(new_job(service, parameters={"steps": 1000, "seconds": 0.02}))
            )
            await held.inside()
            (job,) = service.store.list(owner=None, state=None, cursor=None, limit=9).jobs
            assert await service.cancel(job.id) is Cancellation.REQUESTED
            held.open.set()
            await submitting
            assert (await service.wait(job.id, 10)).state is JobState.CANCELED
            assert service.engine.steps <= 2

    run(test)
