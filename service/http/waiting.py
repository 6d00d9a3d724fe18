"""Synchronous callers waiting for jobs, and what becomes of a job when its last one hangs up."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.types import Receive

from service.core import Service
from service.http.draining import Drain
from service.jobs.model import Job, JobState
from service.jobs.store import Cancellation


class Gone(Exception):
    """The client hung up."""


class Waiters:
    """Who waits for which job.

    A job submitted by a synchronous request belongs to the clients that wait for it: when the last one hangs up, it is
    canceled. It stops belonging to them once somebody was told its id instead of its result (202).
    """

    def __init__(self, service: Service, drain: Drain) -> None:
        self._service, self._drain = service, drain
        self._waiting: Counter[str] = Counter()
        self._owned: set[str] = set()

    def own(self, job_id: str) -> None:
        """The job was submitted by a synchronous request."""
        self._owned.add(job_id)

    def keep(self, job_id: str) -> None:
        """Somebody was promised the job: nobody's hanging up cancels it any more."""
        self._owned.discard(job_id)

    @contextmanager
    def attached(self, job_id: str) -> Iterator[None]:
        """Wait for a job; leaving with `Gone` may cancel it."""
        self._waiting[job_id] += 1
        gone = False
        try:
            yield
        except Gone:
            gone = True
            raise
        finally:
            self._waiting[job_id] -= 1
            if not self._waiting[job_id]:
                del self._waiting[job_id]
                owned = job_id in self._owned
                self._owned.discard(job_id)
                if gone and owned:
                    task = asyncio.ensure_future(self._service.cancel(job_id))
                    _background.add(task)
                    task.add_done_callback(_background.discard)

    async def wait(self, job_id: str, seconds: float, receive: Receive, *, fresh: bool = False) -> Job:
        """The job once it has ended, or as it is after some seconds, or when a draining server will not get to it.

        Args:
            job_id: whose.
            seconds: longest.
            receive: of the request, whose body was read.
            fresh: see `Service.wait`.

        Raises:
            Gone: the client hung up.
        """
        with self.attached(job_id):
            job = asyncio.ensure_future(self._service.wait(job_id, seconds, fresh=fresh))
            hung_up = asyncio.ensure_future(disconnected(receive))
            drained = asyncio.ensure_future(self._left_behind(job_id))
            tasks = {job, hung_up, drained}
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                if job.done():
                    return job.result()
                if drained.done():
                    return drained.result()
                raise Gone
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _left_behind(self, job_id: str) -> Job:
        """The job, once it is clear that a draining server will not finish it."""
        await self._drain.begun.wait()
        job = await self._service.wait(job_id, 0.0)
        if job.state is JobState.QUEUED:
            return job
        await self._drain.over.wait()
        return await self._service.wait(job_id, 0.0)


#: asyncio keeps only weak references to tasks.
_background: set[asyncio.Future[Cancellation]] = set()


async def disconnected(receive: Receive) -> None:
    """Return once the client has hung up; the request's body must have been read."""
    while (await receive())["type"] != "http.disconnect":
        pass
