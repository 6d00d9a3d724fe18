"""The service itself: queues jobs, hands them to the engine, writes down what happens, and cleans up after them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib import import_module
from pathlib import Path

from service.admission import RETRY_SHORTEST, Admission
from service.attempt import Means
from service.blobs import BlobStore, FsspecBlobStore
from service.board import Board
from service.dispatcher import POLL_SECONDS, Dispatcher, cancelled
from service.engine.protocol import Engine
from service.housekeeping import Housekeeping
from service.jobs.model import Event, Job, JobState, NewJob
from service.jobs.notices import Kind, Notice
from service.jobs.sql import SqlJobStore
from service.jobs.store import Cancellation, Claim, JobStore, Submission
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
        means = Means(
            self.store, self.blobs, self.engine, self._board, self.metrics, self._database, self._files,
            settings.max_attempts, settings.retention_seconds, self.tracing,
        )  # fmt: skip
        self._admission = Admission(
            self.store, self.metrics, self._database, settings.max_queue, lambda: self._dispatcher.free()
        )
        claim = Claim(self._presence.name, settings.lease_seconds)
        self._dispatcher = Dispatcher(means, claim, self._admission, self._told)
        self._loops: list[asyncio.Task[None]] = []
        self._submissions: set[asyncio.Task[Submission]] = set()
        self._draining = False
        self._drained: asyncio.Future[None] | None = None
        self._restarts = 0

    def _make_engine(self) -> Engine:
        package = import_module(f"service.engine.{self.settings.engine}")
        engine: Engine = package.create_engine(
            self.settings, self.blobs, self.metrics, lambda: self._dispatcher.room.set()
        )
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
            asyncio.create_task(self._dispatcher.run(), name="dispatch"),
            self._every(third, self._dispatcher.renew),
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
        self._loops[:1] = await cancelled(self._loops[:1])  # no more claims
        if self._submissions:
            await asyncio.wait(self._submissions)
        await self._dispatcher.drain(self.settings.drain_seconds)
        await cancelled(self._loops)
        await self._admission.close()
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

    async def admit(self, ahead: int = 0) -> None:
        if self._draining:
            raise _draining()
        await self._admission.check(ahead)

    async def submit(self, new: NewJob) -> Submission:
        if self._draining:
            raise _draining()
        # Whoever goes away meanwhile leaves no job behind that is claimed and that nobody works on.
        task = asyncio.create_task(self._submit(new))
        self._submissions.add(task)
        task.add_done_callback(self._submissions.discard)
        return await asyncio.shield(task)

    async def _submit(self, new: NewJob) -> Submission:
        """Queue a job; with a free slot and nobody waiting, it is claimed in the same breath and begun."""
        limit = self.settings.jobs_per_key if new.owner else None
        with self._dispatcher.promise() as claim:
            self._admission.submitting += 1
            try:
                submission = await self._database(self.store.submit, new, self.settings.max_queue, limit, claim)
            except Problem as problem:
                if problem.code in (Code.SATURATED, Code.QUOTA):
                    problem.retry_after = await self._admission.retry_after(problem.code)
                raise
            finally:
                self._admission.submitting -= 1
            if submission.replayed:
                return submission
            job = submission.job
            self.tracing.submitted(job.id)
            if job.state is JobState.QUEUED:
                self._admission.waiting += 1
                self._dispatcher.work.set()
            elif self._draining:
                await self._dispatcher.give_back(job)
            else:
                self._dispatcher.begin(job)
        return submission

    async def wait(self, job_id: str, seconds: float | None = None, *, fresh: bool = False) -> Job:
        deadline = None if seconds is None else time.monotonic() + seconds
        with self._board.listening(job_id, only_end=True) as bell:
            if fresh:
                await bell.wait(POLL_SECONDS if seconds is None else min(POLL_SECONDS, seconds))
            while True:
                job = bell.ended or await self._database(self.store.get, job_id)
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
            await self._dispatcher.stop(job_id)
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

    # What runs in the background.

    def _told(self) -> None:
        """A job may have ended, and its webhook be due."""
        if self._sender is not None:
            self._sender.wake()

    async def _look(self) -> None:
        """Measure the queue and the workers, and stop what was asked to stop through another process."""
        workers = self.engine.status()
        self.metrics.workers((worker.device, worker.state == "ready") for worker in workers)
        restarts, self._restarts = self._restarts, sum(worker.restarts for worker in workers)
        self.metrics.restarts.inc(max(0, self._restarts - restarts))
        await self._admission.count()
        await self._dispatcher.stop_requested()

    def _hear(self, notice: Notice) -> None:
        """Another server, or this one, wrote something."""
        match notice.kind:
            case Kind.WORK:
                self._dispatcher.work.set()
            case Kind.NEWS:
                self._board.post(notice.job_id)
            case Kind.END:
                self._board.post(notice.job_id, ended=True)
                self._told()
            case Kind.STOP:
                self._dispatcher.soon(self._dispatcher.stop(notice.job_id))
            case Kind.MISSED:
                self._dispatcher.work.set()
                self._board.post_all()

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


def _draining() -> Problem:
    return Problem(Code.DRAINING, "the server is shutting down; try again", retry_after=RETRY_SHORTEST)
