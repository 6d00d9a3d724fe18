"""A discrete-event simulation of the server's queue and of its workers' step loops, and arrivals for it.

The rules are the server's own: one shared queue, a worker's slots, tiles of all running jobs packed into calls, fair by
the time they take (service/worker/batcher.py, start-time fair queueing).
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
import statistics
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

BURST_SECONDS, CALM_SECONDS, BURST_FACTOR = 20.0, 60.0, 3.0


@dataclass(frozen=True)
class Kind:
    """A kind of job, as measured on an idle server.

    Attributes:
        name: in the tables.
        share: of all arrivals.
        calls, tiles: denoiser calls, and tiles in each.
        tile_seconds: of one tile of one call on the device, the sampler's own work included.
        before, after: seconds from the request to the first call, and from the last call to the answer.
    """

    name: str
    share: float
    calls: int
    tiles: int
    tile_seconds: float
    before: float
    after: float

    @property
    def work(self) -> float:
        """Seconds of a device."""
        return self.calls * self.tiles * self.tile_seconds


@dataclass(frozen=True)
class System:
    """The servers and their limits.

    Attributes:
        workers: devices.
        slots: jobs that a worker runs at the same time (`PELLUCID_JOBS_AT_ONCE`).
        batch: tiles in one call (`PELLUCID_MAX_BATCH`; always 1 on a CPU).
        queue: jobs that may wait (`PELLUCID_MAX_QUEUE`); more are refused.
        fixed_share: of one tile's call, the part that a batch pays only once.
    """

    workers: int
    slots: int = 16
    batch: int = 1
    queue: int = 256
    fixed_share: float = 0.0


class Job:
    """A job on its way: when it came, what is left of it, how much it has had of its worker."""

    __slots__ = ("arrived", "calls_left", "had", "kind", "tiles_left", "tiles_out")

    def __init__(self, arrived: float, kind: Kind) -> None:
        self.arrived, self.kind, self.had = arrived, kind, 0.0
        self.calls_left = kind.calls
        self.tiles_left = self.tiles_out = kind.tiles


class Worker:
    """One device: its pending jobs, and the virtual time of its fair queue."""

    __slots__ = ("busy", "calls", "now", "pending", "running", "tiles", "working")

    def __init__(self) -> None:
        self.pending: list[Job] = []
        self.running, self.calls, self.tiles = 0, 0, 0
        self.now = self.busy = 0.0
        self.working = False

    def join(self, job: Job) -> None:
        """A job waits for its next call; it cannot have saved up time."""
        job.had = max(job.had, self.now)
        self.pending.append(job)

    def take(self, most: int) -> list[Job]:
        """The jobs whose tiles go into the next call, one entry a tile: who has had least comes first."""
        batch: list[Job] = []
        while self.pending and len(batch) < most:
            job = min(self.pending, key=_had)
            self.now = max(self.now, job.had)
            job.had += job.kind.tile_seconds
            job.tiles_left -= 1
            if not job.tiles_left:
                self.pending.remove(job)
            batch.append(job)
        return batch


def _had(job: Job) -> float:
    return job.had


@dataclass
class Outcome:
    """What came of a simulation: latencies by kind in the order of the ends, and shares of 1."""

    latencies: dict[str, list[float]]
    utilisation: float
    refused: float
    mean_batch: float

    @property
    def all(self) -> list[float]:
        """Latencies of every kind."""
        return [value for values in self.latencies.values() for value in values]


def simulate(system: System, arrivals: Sequence[tuple[float, Kind]]) -> Outcome:
    """Run every arrival through the system until the last one is answered.

    Args:
        system: see there.
        arrivals: (second, kind), in order.
    """
    workers = [Worker() for _ in range(system.workers)]
    # Workers by the number of jobs they run: who has most free slots is given the next one.
    by_load: list[dict[Worker, None]] = [{} for _ in range(system.slots + 1)]
    by_load[0] = dict.fromkeys(workers)
    waiting: deque[Job] = deque()
    latencies: dict[str, list[float]] = {}
    serial = itertools.count()
    events: list[tuple[float, int, str, Any, Any]] = []
    refused, ended = 0, 0.0

    def at(moment: float, what: str, worker: Any = None, job: Any = None) -> None:
        heapq.heappush(events, (moment, next(serial), what, worker, job))

    def load(worker: Worker, change: int) -> None:
        del by_load[worker.running][worker]
        worker.running += change
        by_load[worker.running][worker] = None

    def dispatch(now: float) -> None:
        while waiting:
            free = next((group for group in by_load[: system.slots] if group), None)
            if free is None:
                return
            worker, job = next(iter(free)), waiting.popleft()
            load(worker, 1)
            at(now + job.kind.before, "begin", worker, job)

    def work(now: float, worker: Worker) -> None:
        if worker.working or not worker.pending:
            return
        batch = worker.take(system.batch)
        tile = statistics.fmean(job.kind.tile_seconds for job in batch)
        seconds = tile * (system.fixed_share + (1.0 - system.fixed_share) * len(batch))
        worker.working = True
        worker.busy += seconds
        worker.calls += 1
        worker.tiles += len(batch)
        at(now + seconds, "answer", worker, batch)

    for moment, kind in arrivals:
        at(moment, "arrive", None, Job(moment, kind))
    while events:
        now, _, what, worker, job = heapq.heappop(events)
        if what == "arrive":
            if len(waiting) >= system.queue:
                refused += 1
                continue
            waiting.append(job)
            dispatch(now)
        elif what == "begin":
            worker.join(job)
            work(now, worker)
        elif what == "answer":
            worker.working = False
            for each in job:
                each.tiles_out -= 1
                if each.tiles_out:
                    continue
                each.calls_left -= 1
                if each.calls_left:
                    each.tiles_left = each.tiles_out = each.kind.tiles
                    worker.join(each)
                else:
                    at(now + each.kind.after, "end", worker, each)
            work(now, worker)
        else:
            latencies.setdefault(job.kind.name, []).append(now - job.arrived)
            load(worker, -1)
            ended = now
            dispatch(now)
    calls = sum(worker.calls for worker in workers)
    return Outcome(
        latencies,
        sum(worker.busy for worker in workers) / (system.workers * ended) if ended else 0.0,
        refused / len(arrivals),
        sum(worker.tiles for worker in workers) / calls if calls else 0.0,
    )


def poisson(rate: float, kinds: Sequence[Kind], seconds: float, seed: int) -> list[tuple[float, Kind]]:
    """Independent arrivals: `rate` a second on average."""
    draw = random.Random(seed)
    shares = [kind.share for kind in kinds]
    arrivals = []
    now = draw.expovariate(rate)
    while now < seconds:
        arrivals.append((now, draw.choices(kinds, shares)[0]))
        now += draw.expovariate(rate)
    return arrivals


def bursty(rate: float, kinds: Sequence[Kind], seconds: float, seed: int) -> list[tuple[float, Kind]]:
    """Arrivals that come three times as fast for 20 s, then a third as fast for 60 s, and so on; `rate` in the mean.

    Poisson arrivals at the highest rate, of which the calm keeps a ninth (thinning: Lewis and Shedler 1979).
    """
    draw = random.Random(f"calm {seed}")
    kept = 1.0 / BURST_FACTOR**2
    cycle = BURST_SECONDS + CALM_SECONDS
    return [
        (moment, kind)
        for moment, kind in poisson(rate * BURST_FACTOR, kinds, seconds, seed)
        if moment % cycle < BURST_SECONDS or draw.random() < kept
    ]


TRACES = {"Poisson": poisson, "bursty": bursty}


def rate_for(load: float, kinds: Sequence[Kind], workers: int) -> float:
    """Arrivals a second that keep so many workers busy for that share of the time."""
    return load * workers / sum(kind.share * kind.work for kind in kinds)


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of the values do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
