"""Which tiles go into the next denoiser call: packed across jobs, fair between a large picture and small ones.

Two levels of start-time fair queueing (Goyal, Vin and Cheng 1996), counted in pixels of tiles: between the priorities
by weight, then between the jobs of a priority evenly. Whoever has had least is served next; who comes anew, or comes
back, starts at what is being served now, so that no job can save up time, nor wait for more than others' fair share.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from service.worker.job import WorkerJob

#: Of the device's time while both priorities want all of it: batch jobs are promised a fifth.
WEIGHTS = {"interactive": 4.0, "batch": 1.0}


@dataclass
class Batch:
    """Tiles of one shape for one denoiser: (job, index of its tile), each job's in rising order."""

    tiles: list[tuple[WorkerJob, int]] = field(default_factory=list)

    @property
    def jobs(self) -> list[WorkerJob]:
        """Every job in it, once."""
        return list(dict.fromkeys(job for job, _ in self.tiles))


class _Queue:
    """Fair queueing of one level: the virtual time, and what each member has had."""

    def __init__(self) -> None:
        self.now = 0.0
        self.had: dict[object, float] = {}

    def join(self, member: object) -> None:
        self.had[member] = max(self.had.get(member, 0.0), self.now)

    def serve(self, member: object, cost: float) -> None:
        self.now = max(self.now, self.had[member])
        self.had[member] += cost


class Batcher:
    """The pending denoiser calls of all running jobs."""

    def __init__(self) -> None:
        self._pending: dict[str, dict[WorkerJob, None]] = {name: {} for name in WEIGHTS}
        self._priorities, self._jobs = _Queue(), {name: _Queue() for name in WEIGHTS}

    def __len__(self) -> int:
        return sum(len(jobs) for jobs in self._pending.values())

    def add(self, job: WorkerJob) -> None:
        """A job waits for a call, of which tiles are left to hand out."""
        name = self._priority(job)
        if not self._pending[name]:
            self._priorities.join(name)
        self._pending[name][job] = None
        self._jobs[name].join(job)

    def remove(self, job: WorkerJob, *, forget: bool = False) -> None:
        """A job waits no more; forget it when it will not come back."""
        name = self._priority(job)
        self._pending[name].pop(job, None)
        if forget:
            self._jobs[name].had.pop(job, None)

    def next(self, rows: Callable[[WorkerJob], int]) -> Batch | None:
        """Take the tiles of the next denoiser call; None when nothing is pending.

        Args:
            rows: at most so many tiles of such a job may share a call.
        """
        first = self._choose(None)
        if first is None:
            return None
        batch, kind, most = Batch(), _kind(first), rows(first)
        job: WorkerJob | None = first
        while job is not None and len(batch.tiles) < most:
            assert job.tiles is not None
            batch.tiles.append((job, job.next_tile))
            job.next_tile += 1
            name, cost = self._priority(job), float(job.tiles.shape[0] * job.tiles.shape[1])
            self._jobs[name].serve(job, cost)
            self._priorities.serve(name, cost / WEIGHTS[name])
            if job.next_tile == len(job.tiles):
                self.remove(job)
            job = self._choose(kind)
        return batch

    def _choose(self, kind: tuple[object, ...] | None) -> WorkerJob | None:
        """The job whose turn it is, among those whose tiles are of a kind."""
        for name in sorted(self._pending, key=lambda n: self._priorities.had.get(n, 0.0)):
            jobs = [j for j in self._pending[name] if kind is None or _kind(j) == kind]
            if jobs:
                return min(jobs, key=self._jobs[name].had.__getitem__)
        return None

    @staticmethod
    def _priority(job: WorkerJob) -> str:
        return job.ticket.priority if job.ticket.priority in WEIGHTS else "interactive"


def _kind(job: WorkerJob) -> tuple[object, ...]:
    """Tiles of one kind may share a call. A job that was blamed before is kept apart, to be blamed rightly."""
    assert job.prior is not None and job.tiles is not None and job.call is not None
    return job.prior.name, job.tiles.shape, job.call.x.dtype, job.ticket.job_id if job.ticket.attempt > 1 else None
