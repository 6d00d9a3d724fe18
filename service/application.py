"""The service itself: queues jobs, hands them to the engine, writes down what happens, and cleans up after them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import suppress
from importlib import import_module
from pathlib import Path

from service.attempt import Attempt, Means
from service.blobs import BlobStore, FsspecBlobStore
from service.board import Board
from service.engine.protocol import Engine
from service.housekeeping import Housekeeping
from service.jobs.model import Event, Job, NewJob
from service.jobs.notices import Kind, Notice
from service.jobs.sql import SqlJobStore, saturated
from service.jobs.store import Cancellation, JobStore, Submission
from service.observability.metrics import Metrics
from service.observability.tracing import Tracing
from service.presence import Presence
from service.problems import Code, Problem
from service.protection.addresses import AddressGuard, networks
from service.protection.outbound import Outbound
from service.settings import Settings
from service.threads import Threads
from service.webhooks.sender import Sender
from service.webhooks.signing import Signer

#: Seconds between looks into the store for what other processes wrote; what this process wrote is known at once.
POLL_SECONDS = 1.0
#: Seconds between looks at an engine without a free slot, for workers that come back from a restart.
ENGINE_SECONDS = 0.2
#: Retry-After lies between these, and is the third while nothing has been measured. Clients give up above two minutes.
RETRY_SHORTEST, RETRY_LONGEST, RETRY_UNKNOWN = 1.0, 120.0, 30.0
#: Seconds after the engine's own limit that its last events may take to be written down.
LAST_WORDS_SECONDS = 10.0

log = logging.getLogger(__name__)


class RestorationService:
    """`service.core.Service` over a job store, blobs and an engine.

    Args:
        settings: of the server.
        engine: where restorations run; the one that the settings name by default.
        store, blobs: where jobs and pictures lie; as the settings say by default.
        metrics: told of ended jobs and of the queue.
        tracing: makes spans of jobs.
    """

    def __init__(
        self,
        settings: Settings,
        engine: Engine | None = None,
        store: JobStore | None = None,
        blobs: BlobStore | None = None,
        metrics: Metrics | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self.settings = settings
        self.metrics = metrics if metrics is not None else Metrics()
        self.tracing = tracing if tracing is not None else Tracing()
        self.store: JobStore = store if store is not None else SqlJobStore(database_url(settings))
        self.blobs: BlobStore = blobs if blobs is not None else FsspecBlobStore(blob_url(settings))
        self.engine: Engine = engine if engine is not None else self._make_engine()
        self._presence = Presence(settings.data_dir / "servers")
        self._board = Board()
        self._database, self._files = Threads("pellucid-database", 8), Threads("pellucid-files", 4)
        self._sender = _sender(settings, self.store, self._database)
        self._attempts: dict[tuple[str, int], tuple[Attempt, asyncio.Task[None]]] = {}
        self._loops: list[asyncio.Task[None]] = []
        self._actions: set[asyncio.Task[None]] = set()
        self._work, self._room = asyncio.Event(), asyncio.Event()  # jobs to claim; slots that have changed
        self._waiting = 0  # jobs in the queue: as counted last, and submitted or claimed here since
        self._draining = False
        self._drained: asyncio.Future[None] | None = None
        self._throughput = (-1.0, 0.0)
        self._restarts = 0

    def _make_engine(self) -> Engine:
        package = import_module(f"service.engine.{self.settings.engine}")
        engine: Engine = package.create_engine(self.settings, self.blobs, self.metrics, lambda: self._room.set())
        return engine

    # From start to stop.

    async def start(self) -> None:
        self._private_data_dir()
        await self._database(self.store.open)
        await self._files(self._presence.enter)
        keeping = Housekeeping(self.store, self.blobs, self._presence, self._database, self._files, self.settings)
        await keeping.recover()
        await self.engine.start()
        third = self.settings.lease_seconds / 3  # two renewals may be missed
        self._loops = [
            asyncio.create_task(self._dispatch(), name="dispatch"),
            self._every(third, self._renew),
            self._every(POLL_SECONDS, self._look),
            self._every(min(5.0, third), keeping.recover),
            self._every(10.0, keeping.expire),
            self._every(3600.0, keeping.sweep),
        ]
        self._loops.append(asyncio.create_task(self.store.listen(self._hear), name="notices"))
        if self._sender is not None:
            self._loops.append(asyncio.create_task(self._sender.run(), name="webhooks"))

    async def drain(self) -> None:
        if self._drained is None:
            self._draining = True
            self._drained = asyncio.ensure_future(self._drain())
        await asyncio.shield(self._drained)

    async def hurry(self) -> None:
        if self._draining:
            await self.engine.stop(0.0)

    async def _drain(self) -> None:
        self._loops[:1] = await _cancelled(self._loops[:1])  # no more claims
        await self.engine.stop(self.settings.drain_seconds)
        tasks = [task for _, task in self._attempts.values()]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=LAST_WORDS_SECONDS)
            await _cancelled(late)
        for attempt, _ in list(self._attempts.values()):  # the engine has not said how it ended
            release, retention = self.store.release, self.settings.retention_seconds
            await self._database(release, attempt.job.id, attempt.job.fence, blame=False, retention_seconds=retention)
        await _cancelled(self._loops)
        await self._files(self._presence.leave)

    async def close(self) -> None:
        """Drain, then close the store; nothing may be asked of the service afterwards."""
        await self.drain()
        await self._database(self.store.close)
        self._database.close()
        self._files.close()

    @property
    def draining(self) -> bool:
        return self._draining

    def _private_data_dir(self) -> None:
        Path(self.settings.data_dir).mkdir(mode=0o700, parents=True, exist_ok=True)

    # What callers ask for.

    async def admit(self) -> None:
        if self._draining:
            raise Problem(Code.DRAINING, "the server is shutting down; try again", retry_after=RETRY_SHORTEST)
        # `submit` counts exactly; this look spares a crowd the way there, and an uncrowded server a query.
        if self._waiting >= self.settings.max_queue and await self._count() >= self.settings.max_queue:
            problem = saturated(self.settings.max_queue)
            problem.retry_after = await self._retry_after(problem.code)
            raise problem

    async def submit(self, new: NewJob) -> Submission:
        if self._draining:
            raise Problem(Code.DRAINING, "the server is shutting down; try again", retry_after=RETRY_SHORTEST)
        limit = self.settings.jobs_per_key if new.owner else None
        try:
            submission = await self._database(self.store.submit, new, self.settings.max_queue, limit)
        except Problem as problem:
            if problem.code in (Code.SATURATED, Code.QUOTA):
                problem.retry_after = await self._retry_after(problem.code)
            raise
        if not submission.replayed:
            self.tracing.submitted(submission.job.id)
            self._waiting += 1
        self._work.set()
        return submission

    async def wait(self, job_id: str, seconds: float | None = None, *, fresh: bool = False) -> Job:
        deadline = None if seconds is None else time.monotonic() + seconds
        with self._board.listening(job_id, only_end=True) as bell:
            if fresh:
                await bell.wait(POLL_SECONDS if seconds is None else min(POLL_SECONDS, seconds))
            while True:
                job = await self._database(self.store.get, job_id)
                if job is None:
                    raise Problem(Code.NOT_FOUND, "no such job")
                left = POLL_SECONDS if deadline is None else deadline - time.monotonic()
                if job.state.ended or left <= 0:
                    return job
                await bell.wait(min(POLL_SECONDS, left))

    async def cancel(self, job_id: str) -> Cancellation:
        done = await self._database(self.store.cancel, job_id, self.settings.retention_seconds)
        if done is Cancellation.CANCELED:
            self._board.post(job_id, ended=True)
            job = await self._database(self.store.get, job_id)
            self._told()
            if job is not None:
                self.metrics.job_ended(job.spec.task, job.state.value, {})
        elif done is Cancellation.REQUESTED:
            await self._stop_attempts(job_id)
        return done

    async def watch(self, job_id: str, after: int = 0) -> AsyncIterator[Event]:
        with self._board.listening(job_id) as bell:
            while True:
                found = await self._database(self.store.events, job_id, after)
                for event in found:
                    after = event.id
                    yield event
                    if event.type == "completed":
                        return
                if not found:
                    job = await self._database(self.store.get, job_id)
                    if job is None:
                        raise Problem(Code.NOT_FOUND, "no such job")
                    if job.state.ended:
                        # Its end may have been written between the two looks.
                        if await self._database(self.store.events, job_id, after):
                            continue
                        return
                await bell.wait(POLL_SECONDS)

    async def _retry_after(self, code: Code) -> float:
        """Seconds until half of a full queue is worked off, or one job of many is done, at the measured throughput.

        Half, so that those who come back find room and the workers are not idle meanwhile.
        """
        measured, rate = self._throughput
        if time.monotonic() - measured > POLL_SECONDS:
            self._throughput = (time.monotonic(), rate)  # one look for all who are refused at the same time
            rate = await self._database(self.store.throughput)
            self._throughput = (time.monotonic(), rate)
        jobs = self.settings.max_queue / 2 if code is Code.SATURATED else 1
        return min(RETRY_LONGEST, max(RETRY_SHORTEST, jobs / rate)) if rate else RETRY_UNKNOWN

    # What runs in the background.

    async def _dispatch(self) -> None:
        """Claim as much as the engine has room for, as soon as there is something to claim.

        Told of a job, or with more waiting than there was room for, it claims without counting first; else it looks now
        and then for what other processes queued, and disturbs them with a claim only when there is something.
        """
        means = Means(
            self.store, self.blobs, self.engine, self._board, self.metrics, self._database, self._files,
            self.settings.max_attempts, self.settings.retention_seconds, self.tracing,
        )  # fmt: skip
        told = False
        while True:
            self._room.clear()
            free = self.engine.free_slots()
            if free <= 0:
                await _happens(self._room, ENGINE_SECONDS)
                continue
            self._work.clear()
            try:
                jobs = await self._claimed(free) if told or await self._count() else []
            except Exception:
                log.exception("jobs cannot be claimed; trying again in %g s", POLL_SECONDS)
                await asyncio.sleep(POLL_SECONDS)
                continue
            for job in jobs:
                self._begin(Attempt(job, means))
            if jobs:
                self._waiting = max(0, self._waiting - len(jobs))
                await self._stop_requested()  # somebody may have asked to while they were being claimed
            told = len(jobs) == free or await _happens(self._work, POLL_SECONDS)

    async def _claimed(self, number: int) -> list[Job]:
        """Claim jobs; those whose claim is written while the dispatcher is stopped are given back."""
        claiming = asyncio.ensure_future(self._database(self._claim, number))
        try:
            return await asyncio.shield(claiming)
        except asyncio.CancelledError:
            release, retention = self.store.release, self.settings.retention_seconds
            for job in await claiming:
                await self._database(release, job.id, job.fence, blame=False, retention_seconds=retention)
            raise

    def _claim(self, number: int) -> list[Job]:
        return [*self.store.claim(self._presence.name, self.settings.lease_seconds, number)]

    def _begin(self, attempt: Attempt) -> None:
        key = (attempt.job.id, attempt.job.fence)
        task = asyncio.create_task(attempt.run(), name=f"attempt {attempt.job.id}")
        self._attempts[key] = (attempt, task)

        def over(_task: asyncio.Task[None]) -> None:
            del self._attempts[key]
            self._room.set()
            if attempt.gave_back:
                self._work.set()
            self._told()

        task.add_done_callback(over)

    def _told(self) -> None:
        """A job may have ended, and its webhook be due."""
        if self._sender is not None:
            self._sender.wake()

    async def _renew(self) -> None:
        """Renew the leases, and let go of jobs that are others' by now."""
        mine = list(self._attempts)
        held = await self._database(self.store.renew_all, self._presence.name, self.settings.lease_seconds)
        for key in mine:
            if key not in held and key in self._attempts:
                log.warning("the lease of job %s is lost; its work is stopped", key[0])
                self._attempts[key][1].cancel()

    async def _look(self) -> None:
        """Measure the queue and the workers, and stop what was asked to stop through another process."""
        workers = self.engine.status()
        self.metrics.workers((worker.device, worker.state == "ready") for worker in workers)
        restarts, self._restarts = self._restarts, sum(worker.restarts for worker in workers)
        self.metrics.restarts.inc(max(0, self._restarts - restarts))
        await self._count()
        await self._stop_requested()

    async def _count(self) -> int:
        """How many jobs wait, for the metrics and for `admit` as well."""
        waiting = await self._database(self.store.queued)
        self.metrics.queued(waiting)
        self._waiting = sum(waiting.values())
        return self._waiting

    async def _stop_requested(self) -> None:
        """Stop what was asked to stop through another process, or before its attempt was known here."""
        if self._attempts:
            for job_id, _ in await self._database(self.store.cancellations, self._presence.name):
                await self._stop_attempts(job_id)

    def _hear(self, notice: Notice) -> None:
        """Another server, or this one, wrote something."""
        match notice.kind:
            case Kind.WORK:
                self._work.set()
            case Kind.NEWS:
                self._board.post(notice.job_id)
            case Kind.END:
                self._board.post(notice.job_id, ended=True)
                self._told()
            case Kind.STOP:
                for attempt, _ in self._attempts.values():
                    if attempt.job.id == notice.job_id:
                        self._soon(attempt.stop())
            case Kind.MISSED:
                self._work.set()
                self._board.post_all()

    def _soon(self, action: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(action)
        self._actions.add(task)  # asyncio itself keeps only weak references
        task.add_done_callback(self._actions.discard)

    async def _stop_attempts(self, job_id: str) -> None:
        for attempt, _ in list(self._attempts.values()):
            if attempt.job.id == job_id:
                await attempt.stop()

    def _every(self, seconds: float, action: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        async def loop() -> None:
            while True:
                await asyncio.sleep(seconds)
                try:
                    await action()
                except Exception:
                    log.exception("%s failed; trying again in %g s", action.__qualname__, seconds)

        return asyncio.create_task(loop(), name=action.__qualname__)


def database_url(settings: Settings) -> str:
    """Where the jobs lie: a SQLAlchemy URL."""
    return settings.database_url or f"sqlite:///{settings.data_dir / 'pellucid.db'}"


def blob_url(settings: Settings) -> str:
    """Where the pictures lie: an fsspec URL."""
    return settings.blob_url or str(settings.data_dir / "blobs")


def create_service(
    settings: Settings, metrics: Metrics | None = None, tracing: Tracing | None = None
) -> RestorationService:
    """The service that the settings describe; nothing is opened before `start`."""
    return RestorationService(settings, metrics=metrics, tracing=tracing)


def _sender(settings: Settings, store: JobStore, database: Threads) -> Sender | None:
    if settings.webhook_secret is None:
        return None
    guard = AddressGuard(settings.offline, networks(settings.allowed_addresses))
    return Sender(store.outbox, Outbound(guard), Signer(settings.webhook_secret.get_secret_value()), database)


async def _happens(event: asyncio.Event, seconds: float) -> bool:
    """Whether an event is set within some seconds. (asyncio.wait_for of Python 3.11 may swallow a cancellation.)"""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()


async def _cancelled(tasks: list[asyncio.Task[None]] | set[asyncio.Task[None]]) -> list[asyncio.Task[None]]:
    """Cancel tasks and wait until they are gone; returns none."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return []
