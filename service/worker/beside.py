"""What is done beside the step loop: decoding, encoding, large data steps, enlargements, each in a pool of threads."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import torch

from service.observability.logs import bound
from service.worker.job import WorkerJob
from service.worker.pools import make_pools

#: Threads that decode, that encode, and that do large pictures' data steps.
POOL_THREADS = 2

Pool = Literal["decode", "encode", "data step", "enlarge"]
Then = Callable[[WorkerJob, Any], None]


class Beside:
    """Works on jobs in threads, and hands them back to the loop. Its methods belong to the loop's thread.

    Args:
        inbox: of the loop, which does what it finds there.
        begun: called before a job is worked on, so that it is known over what a crash may come.
        over: called in the loop with a job, its pool, what came of it or the error, and what was to follow.
        single: each thread computes alone; see `service.worker.pools.make_pools`.

    Attributes:
        jobs: what is worked on, and since when.
    """

    def __init__(
        self,
        inbox: queue.SimpleQueue[Callable[[], None]],
        begun: Callable[[], None],
        over: Callable[[WorkerJob, Pool, Any, Exception | None, Then], None],
        *,
        single: bool,
    ) -> None:
        self._inbox, self._begun, self._over = inbox, begun, over
        decode, encode, step = make_pools(("decode", "encode", "data step"), POOL_THREADS, single=single)
        # One thread: networks of one prior are not called twice at a time, and jobs with such priors take turns.
        enlarge = ThreadPoolExecutor(1, thread_name_prefix="enlarge")
        self._pools: dict[Pool, ThreadPoolExecutor] = {
            "decode": decode, "encode": encode, "data step": step, "enlarge": enlarge,
        }  # fmt: skip
        self.jobs: dict[WorkerJob, float] = {}

    def do(self, pool: Pool, job: WorkerJob, work: Callable[[], Any], then: Then) -> None:
        """Work on a job beside the loop, then go on with it in the loop: `then(job, what work returned)`."""

        def run() -> None:
            start = time.monotonic()
            value: Any = None
            error: Exception | None = None
            try:
                with torch.no_grad(), bound(job=job.ticket.job_id, request=job.ticket.request_id):
                    value = work()
            except Exception as caught:
                error = caught
            seconds = time.monotonic() - start
            self._inbox.put(lambda: self._back(pool, job, seconds, value, error, then))

        self.jobs[job] = time.monotonic()
        self._begun()
        self._pools[pool].submit(run)

    def _back(
        self, pool: Pool, job: WorkerJob, seconds: float, value: Any, error: Exception | None, then: Then
    ) -> None:
        del self.jobs[job]
        if pool in ("decode", "encode"):  # what a job's data steps and tiles take is told as a whole
            job.seconds[pool] = seconds
        self._over(job, pool, value, error, then)

    def tidy(self, work: Callable[[], None]) -> None:
        """Do something that nobody waits for."""
        self._pools["encode"].submit(work)

    def young(self, patience: float) -> float:
        """Seconds for which the youngest work is worth waiting for.

        Args:
            patience: for work that begins now.
        """
        youngest = max(self.jobs.values(), default=float("-inf"))
        return max(0.0, youngest + patience - time.monotonic())

    def stuck(self, seconds: float) -> list[WorkerJob]:
        """Jobs that are worked on for longer than that."""
        now = time.monotonic()
        return [job for job, since in self.jobs.items() if now - since > seconds]

    def close(self) -> None:
        """Begin nothing more."""
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=True)
