"""Whether there is room for one more job, answered from memory: a crowd that is refused costs the database nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine

from service.jobs.sql import saturated
from service.jobs.store import JobStore
from service.observability.metrics import Metrics
from service.problems import Code
from service.threads import Threads

#: Retry-After lies between these, and is the third while nothing has been measured. Clients give up above two minutes.
RETRY_SHORTEST, RETRY_LONGEST, RETRY_UNKNOWN = 1.0, 120.0, 30.0
#: How old a count of waiting jobs may be when it refuses somebody: other servers may have claimed some.
COUNT_SECONDS = 0.1
#: How old the measured throughput may be without being measured anew, and without being believed at all.
RATE_SECONDS, STALE_SECONDS = 1.0, 60.0


class Admission:
    """Counts waiting jobs, and says when to come back.

    Args:
        store: where they wait.
        metrics: told their number.
        database: threads for the store.
        max_queue: jobs that may wait.
        free: how many more the engine would start at once.

    Attributes:
        waiting: jobs in the queue: as counted last, and submitted or claimed here since.
        submitting: jobs that are being written down.
    """

    def __init__(
        self, store: JobStore, metrics: Metrics, database: Threads, max_queue: int, free: Callable[[], int]
    ) -> None:
        self._store, self._metrics, self._database = store, metrics, database
        self._max_queue, self._free = max_queue, free
        self.waiting = self.submitting = 0
        self._counted = self._measured = float("-inf")
        self._rate = 0.0
        self._actions: dict[str, asyncio.Task[None]] = {}

    async def check(self, ahead: int) -> None:
        """Refuse what would only wait to be refused; `JobStore.submit` counts exactly.

        Args:
            ahead: submissions that were let in before and will be written down soon.

        Raises:
            Problem: SATURATED.
        """
        before = self.waiting + self.submitting + ahead
        if self.waiting < self._max_queue and before < self._max_queue + max(0, self._free()):
            return
        if time.monotonic() - self._counted > COUNT_SECONDS:
            self._soon("count", self._count)
        problem = saturated(self._max_queue)
        problem.retry_after = await self.retry_after(problem.code)
        raise problem

    async def count(self) -> int:
        """How many jobs wait, for the metrics as well."""
        self._counted = time.monotonic()
        waiting = await self._database(self._store.queued)
        self._metrics.queued(waiting)
        self.waiting = sum(waiting.values())
        return self.waiting

    async def retry_after(self, code: Code) -> float:
        """Seconds until half of a full queue is worked off, or one job of many is done, at the measured throughput.

        Half, so that those who come back find room and the workers are not idle meanwhile.
        """
        age = time.monotonic() - self._measured
        if age > STALE_SECONDS:
            await self._measure()
        elif age > RATE_SECONDS:
            self._soon("measure", self._measure)
        jobs = self._max_queue / 2 if code is Code.SATURATED else 1
        return min(RETRY_LONGEST, max(RETRY_SHORTEST, jobs / self._rate)) if self._rate else RETRY_UNKNOWN

    async def _measure(self) -> None:
        self._measured = time.monotonic()  # one look for all who are refused at the same time
        self._rate = await self._database(self._store.throughput)

    async def _count(self) -> None:
        await self.count()

    def _soon(self, name: str, action: Callable[[], Coroutine[None, None, None]]) -> None:
        """Do it beside whoever is answered now, once at a time."""
        if name not in self._actions:
            task = self._actions[name] = asyncio.create_task(action(), name=f"admission {name}")
            task.add_done_callback(lambda _: self._actions.pop(name))

    async def close(self) -> None:
        """Let what is being looked up come to its end."""
        await asyncio.gather(*self._actions.values(), return_exceptions=True)
