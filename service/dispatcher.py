"""Claims jobs for the engine of this server, follows each attempt, and keeps their leases."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress

from service.admission import Admission
from service.attempt import Attempt, Means
from service.jobs.model import Job
from service.jobs.store import Claim

#: Seconds between looks into the store for what other processes wrote; what this process wrote is known at once.
POLL_SECONDS = 1.0
#: Seconds between looks at an engine without a free slot, for workers that come back from a restart.
ENGINE_SECONDS = 0.2
#: Seconds after the engine's own limit that its last events may take to be written down.
LAST_WORDS_SECONDS = 10.0

log = logging.getLogger(__name__)


class Dispatcher:
    """The attempts of one server. All methods belong to one event loop.

    Args:
        means: what attempts work with.
        claim: who claims, and for how long.
        admission: counts what waits.
        told: called when a job may have ended.

    Attributes:
        work: set when there may be jobs to claim.
        room: set when the engine's slots have changed.
    """

    def __init__(self, means: Means, claim: Claim, admission: Admission, told: Callable[[], None]) -> None:
        self._means, self._claim, self._admission, self._told = means, claim, admission, told
        self._attempts: dict[tuple[str, int], tuple[Attempt, asyncio.Task[None]]] = {}
        self._actions: set[asyncio.Task[None]] = set()
        self._promised = 0  # slots for jobs that are being claimed, or that the engine has not been given yet
        self._early: set[str] = set()  # jobs that were asked to stop meanwhile
        self._stopping = False
        self.work, self.room = asyncio.Event(), asyncio.Event()

    def free(self) -> int:
        """How many more jobs would be started at once."""
        return 0 if self._stopping else self._means.engine.free_slots() - self._promised

    async def run(self) -> None:
        """Claim as much as the engine has room for, as soon as there is something to claim.

        Told of a job, or with more waiting than there was room for, it claims without counting first; else it looks now
        and then for what other processes queued, and disturbs them with a claim only when there is something.
        """
        told = False
        while True:
            self.room.clear()
            free = self.free()
            if free <= 0:
                await _happens(self.room, ENGINE_SECONDS)
                continue
            self.work.clear()
            try:
                jobs = await self._claimed(free) if told or await self._admission.count() else []
            except Exception:
                log.exception("jobs cannot be claimed; trying again in %g s", POLL_SECONDS)
                await asyncio.sleep(POLL_SECONDS)
                continue
            for job in jobs:
                self.begin(job)
            if jobs:
                self._admission.waiting = max(0, self._admission.waiting - len(jobs))
                await self.stop_requested()  # somebody may have asked to while they were being claimed
            told = len(jobs) == free or await _happens(self.work, POLL_SECONDS)

    async def _claimed(self, number: int) -> list[Job]:
        """Claim jobs; those whose claim is written while the dispatcher is stopped are given back."""
        self._promise(number)
        claiming = asyncio.ensure_future(self._means.database(self._claim_now, number))
        try:
            return await asyncio.shield(claiming)
        except asyncio.CancelledError:
            for job in await claiming:
                await self.give_back(job)
            raise
        finally:
            self._promise(-number)

    def _claim_now(self, number: int) -> list[Job]:
        return [*self._means.store.claim(self._claim.worker, self._claim.lease_seconds, number)]

    @contextmanager
    def promise(self) -> Iterator[Claim | None]:
        """A claim on a free slot, for a job that is being submitted; None when there is none to promise."""
        if self.free() <= 0:
            yield None
            return
        self._promise(1)
        try:
            yield self._claim
        finally:
            self._promise(-1)

    def _promise(self, number: int) -> None:
        self._promised += number
        if not self._promised:
            self._early.clear()

    async def give_back(self, job: Job) -> None:
        """Queue a claimed job again that nobody has begun."""
        means = self._means
        await means.database(
            means.store.release, job.id, job.fence, blame=False, retention_seconds=means.retention_seconds
        )

    def begin(self, job: Job) -> None:
        """Begin an attempt at a claimed job."""
        attempt, key = Attempt(job, self._means), (job.id, job.fence)
        task = asyncio.create_task(attempt.run(), name=f"attempt {job.id}")
        self._attempts[key] = (attempt, task)
        self._promise(1)
        # The engine is given the ticket in the task's first step, which the loop takes before what comes here.
        asyncio.get_running_loop().call_soon(self._promise, -1)
        if job.id in self._early:
            self.soon(attempt.stop())

        def over(_task: asyncio.Task[None]) -> None:
            del self._attempts[key]
            self.room.set()
            if attempt.gave_back:
                self.work.set()
            self._told()

        task.add_done_callback(over)

    # While they run.

    async def renew(self) -> None:
        """Renew the leases, and let go of jobs that are others' by now."""
        mine = list(self._attempts)
        means, claim = self._means, self._claim
        held = await means.database(means.store.renew_all, claim.worker, claim.lease_seconds)
        for key in mine:
            if key not in held and key in self._attempts:
                log.warning("the lease of job %s is lost; its work is stopped", key[0])
                self._attempts[key][1].cancel()

    async def stop_requested(self) -> None:
        """Stop what was asked to stop through another process, or before its attempt was known here."""
        if self._attempts:
            for job_id, _ in await self._means.database(self._means.store.cancellations, self._claim.worker):
                await self.stop(job_id)

    async def stop(self, job_id: str) -> None:
        """Stop a job's attempts, or the one that is about to begin."""
        if self._promised:
            self._early.add(job_id)
        for attempt, _ in list(self._attempts.values()):
            if attempt.job.id == job_id:
                await attempt.stop()

    def soon(self, action: Coroutine[None, None, None]) -> None:
        """Do something beside what is being done."""
        task = asyncio.create_task(action)
        self._actions.add(task)  # asyncio itself keeps only weak references
        task.add_done_callback(self._actions.discard)

    async def drain(self, seconds: float) -> None:
        """Let what runs finish for so long, and give the rest back. `run` must have been stopped."""
        self._stopping = True
        await self._means.engine.stop(seconds)
        tasks = [task for _, task in self._attempts.values()]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=LAST_WORDS_SECONDS)
            await cancelled(late)
        for attempt, _ in list(self._attempts.values()):  # the engine has not said how it ended
            await self.give_back(attempt.job)


async def _happens(event: asyncio.Event, seconds: float) -> bool:
    """Whether an event is set within some seconds. (asyncio.wait_for of Python 3.11 may swallow a cancellation.)"""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()


async def cancelled(tasks: list[asyncio.Task[None]] | set[asyncio.Task[None]]) -> list[asyncio.Task[None]]:
    """Cancel tasks and wait until they are gone; returns none."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return []
