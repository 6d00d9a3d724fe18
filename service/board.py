"""Who waits for news of a job in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from service.jobs.model import Job


class Bell:
    """Rung when there may be news of one job.

    Attributes:
        only_end: not for anything before.
        ended: the job as it ended, where that is known here.
    """

    def __init__(self, only_end: bool) -> None:
        self.only_end = only_end
        self.ended: Job | None = None
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Wake whoever waits, or the next who will."""
        self._rung.set()

    async def wait(self, seconds: float) -> None:
        """Until it is rung, or for so long; what comes later rings anew."""
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, seconds)):
                await self._rung.wait()
        self._rung.clear()


class Board:
    """Wake-ups inside one process. They only spare time: who waits looks into the store as well, now and then."""

    def __init__(self) -> None:
        self._bells: dict[str, set[Bell]] = {}

    @contextmanager
    def listening(self, job_id: str, *, only_end: bool = False) -> Iterator[Bell]:
        """A bell for a job's news, or for its end only."""
        bell = Bell(only_end)
        self._bells.setdefault(job_id, set()).add(bell)
        try:
            yield bell
        finally:
            self._bells[job_id].discard(bell)
            if not self._bells[job_id]:
                del self._bells[job_id]

    def post_all(self) -> None:
        """There may be news of every job."""
        for job_id in self._bells:
            self.post(job_id, ended=True)

    def post(self, job_id: str, *, ended: bool = False, job: Job | None = None) -> None:
        """There is news of a job.

        Args:
            job_id: whose.
            ended: that it has ended, or is queued again.
            job: as it has ended and will stay.
        """
        for bell in self._bells.get(job_id, ()):
            if job is not None:
                bell.ended = job
            if ended or not bell.only_end:
                bell.ring()
