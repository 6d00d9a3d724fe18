"""A service that keeps everything in memory and restores in threads of this process, with the real core: enough of the
protocol for the HTTP layer to be developed against. Run as a program, it serves.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from service.engine.protocol import DeviceStatus
from service.intake.protocol import Examined
from service.jobs.model import Event, Job, JobError, JobState, NewJob, Upload
from service.jobs.store import Cancellation, Page, Submission
from service.observability.metrics import Metrics
from service.problems import Code, Problem


def now() -> datetime:
    return datetime.now(UTC)


class MemoryBlobs:
    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def put(self, data: bytes, kind: str) -> str:
        reference = f"{kind}/{uuid.uuid4().hex}"
        self.kept[reference] = data
        return reference

    def get(self, reference: str) -> bytes:
        try:
            return self.kept[reference]
        except KeyError:
            raise FileNotFoundError(reference) from None

    def delete(self, reference: str) -> None:
        self.kept.pop(reference, None)


class MemoryEngine:
    def __init__(self) -> None:
        self.state: Any = "ready"
        self.running = 0

    def status(self) -> Sequence[DeviceStatus]:
        return [DeviceStatus("cpu", self.state, self.running, 0)]


class MemoryStore:
    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.logs: dict[str, list[Event]] = {}
        self.uploads: dict[str, Upload] = {}

    def get(self, job_id: str) -> Job | None:
        return self.jobs.get(job_id)

    def list(self, *, owner: str | None, state: JobState | None, cursor: str | None, limit: int) -> Page:
        found = [job for job in reversed(self.jobs.values()) if state in (None, job.state)]
        ids = [job.id for job in found]
        if cursor is not None and cursor not in ids:
            raise Problem(Code.INVALID_PARAMETER, "cursor: not one of ours")
        start = ids.index(cursor) + 1 if cursor else 0
        page = found[start : start + limit]
        return Page(page, page[-1].id if start + limit < len(found) else None)

    def purge(self, job_id: str) -> Sequence[str] | None:
        job = self.jobs[job_id]
        if job.state is JobState.RUNNING:
            return None
        self.jobs[job_id] = replace(job, state=JobState.EXPIRED, outputs={})
        return [*job.spec.inputs.values(), *job.outputs.values()]

    def add_upload(self, upload: Upload) -> None:
        self.uploads[upload.id] = upload

    def upload(self, upload_id: str, owner: str) -> Upload | None:
        return self.uploads.get(upload_id)


class Stopped(Exception):
    pass


class MemoryService:
    """See `service.core.Service`.

    Args:
        prior: a folder with a network, or None for the embedded prior.
        on_step: called in the worker's thread after each denoiser call, to slow it down or to break it.
    """

    def __init__(
        self, prior: Any = None, on_step: Callable[[], None] = lambda: None, max_queue: int = 256, slots: int = 2
    ) -> None:
        self.metrics = Metrics()
        self.store: Any = MemoryStore()
        self.blobs = MemoryBlobs()
        self.engine: Any = MemoryEngine()
        self.draining = False
        self.submissions = 0
        self._prior, self._on_step, self._max_queue = prior, on_step, max_queue
        self._slots = slots
        self._restorer: Any = None
        self._changed: asyncio.Condition
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        from restore import Restorer

        self._changed = asyncio.Condition()
        self._room = asyncio.Semaphore(self._slots)

        def load() -> Any:
            if self._prior is None:
                return Restorer.from_pretrained()
            from models.registry import load_folder

            return Restorer(load_folder(self._prior, device="cpu", digest="sha256:0"))

        self._restorer = await asyncio.to_thread(load)

    async def hurry(self) -> None:
        return

    async def drain(self) -> None:
        self.draining = True
        running = [task for task in self._tasks if not task.done()]
        if running:
            await asyncio.wait(running, timeout=10.0)

    async def admit(self, ahead: int = 0) -> None:
        """Takes everything."""

    async def submit(self, new: NewJob) -> Submission:
        if self.draining:
            raise Problem(Code.DRAINING, "draining")
        for job in self.store.jobs.values():
            if new.idempotency_key is not None and job.spec.idempotency_key == new.idempotency_key:
                if job.state in (JobState.CANCELED, JobState.EXPIRED):
                    continue
                if job.spec.fingerprint != new.fingerprint:
                    raise Problem(Code.IDEMPOTENCY_MISMATCH, "the key was used for something else")
                return Submission(job, True)
        waiting = sum(job.state is JobState.QUEUED for job in self.store.jobs.values())
        if waiting >= self._max_queue:
            raise Problem(Code.SATURATED, "the queue is full", retry_after=3.0)
        self.submissions += 1
        job = Job(str(uuid.uuid4()), new, JobState.QUEUED, now())
        self.store.jobs[job.id] = job
        self.store.logs[job.id] = []
        await self._event(job.id, "queued", {"position": waiting})
        task = asyncio.create_task(self._run(job.id))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return Submission(job, False)

    async def wait(self, job_id: str, seconds: float | None = None, *, fresh: bool = False) -> Job:
        if job_id not in self.store.jobs:
            raise Problem(Code.NOT_FOUND, "there is no such job")
        async with self._changed:
            try:
                async with asyncio.timeout(seconds):
                    await self._changed.wait_for(lambda: self.store.jobs[job_id].state.ended)
            except TimeoutError:
                pass
        return self.store.jobs[job_id]

    async def cancel(self, job_id: str) -> Cancellation:
        job = self.store.jobs.get(job_id)
        if job is None:
            return Cancellation.UNKNOWN
        if job.state.ended:
            return Cancellation.ENDED
        if job.state is JobState.QUEUED:
            await self._set(job_id, state=JobState.CANCELED, finished_at=now())
            await self._event(job_id, "completed", {})
            return Cancellation.CANCELED
        await self._set(job_id, cancel_requested=True)
        return Cancellation.REQUESTED

    async def watch(self, job_id: str, after: int = 0) -> AsyncIterator[Event]:
        log = self.store.logs[job_id]
        while True:
            for event in log[after:]:
                after = event.id
                yield event
                if event.type == "completed":
                    return
            async with self._changed:
                if len(log) <= after:
                    if self.store.jobs[job_id].state.ended:
                        return
                    await self._changed.wait()

    async def _set(self, job_id: str, **changes: Any) -> None:
        async with self._changed:
            self.store.jobs[job_id] = replace(self.store.jobs[job_id], **changes)
            self._changed.notify_all()

    async def _event(self, job_id: str, type: str, data: dict[str, Any]) -> None:
        async with self._changed:
            log = self.store.logs[job_id]
            log.append(Event(len(log) + 1, type, data))
            self._changed.notify_all()

    async def _run(self, job_id: str) -> None:
        async with self._room:
            if self.draining or self.store.jobs[job_id].state is not JobState.QUEUED:
                return
            await self._set(job_id, state=JobState.RUNNING, started_at=now(), attempt=1)
            await self._event(job_id, "started", {"attempt": 1, "device": "cpu"})
            self.engine.running += 1
            try:
                changes = await asyncio.to_thread(self._restore, job_id, asyncio.get_running_loop())
            except Stopped:
                changes = {"state": JobState.CANCELED}
            except Exception as error:
                changes = {"state": JobState.FAILED, "error": JobError(Code.INVALID_PARAMETER, str(error))}
            finally:
                self.engine.running -= 1
            expires = now() + timedelta(hours=1)
            await self._set(job_id, finished_at=now(), expires_at=expires, **changes)
            await self._event(job_id, "completed", {})

    def _restore(self, job_id: str, loop: asyncio.AbstractEventLoop) -> dict[str, Any]:
        import json

        import torch

        from restore.images import decode, encode

        spec: NewJob = self.store.jobs[job_id].spec
        stop = threading.Event()

        def step(progress: Any) -> None:
            if self.store.jobs[job_id].cancel_requested:
                stop.set()
            data = {"step": progress.step + 1, "steps": progress.steps, "fraction": progress.fraction}
            asyncio.run_coroutine_threadsafe(self._event(job_id, "progress", data), loop).result()
            self._on_step()

        parameters = dict(spec.parameters)
        if "mask" in spec.inputs:
            plane = decode(self.blobs.get(spec.inputs["mask"])).image[0].mean(dim=0)
            parameters["mask"] = (plane > 0).float()
        if "kernel" in spec.inputs:
            parameters["kernel"] = torch.tensor(json.loads(self.blobs.get(spec.inputs["kernel"])))
        begun = time.perf_counter()
        try:
            done = self._restorer.restore(
                self.blobs.get(spec.inputs["image"]), spec.task, on_step=step, cancelled=stop.is_set, **parameters
            )
        except Exception as error:
            if stop.is_set():
                raise Stopped from error
            raise
        data = encode(done.picture, done.tensor, format=spec.output.format, quality=spec.output.quality)
        report = done.report | {"seconds": time.perf_counter() - begun}
        return {
            "state": JobState.SUCCEEDED,
            "outputs": {"result": self.blobs.put(data, "result")},
            "media_type": f"image/{spec.output.format}",
            "width": int(done.tensor.shape[-1]),
            "height": int(done.tensor.shape[-2]),
            "sha256": hashlib.sha256(data).hexdigest(),
            "effective": report,
            "metrics": {"queue": 0.0, "decode": 0.001, "restore": report["seconds"], "encode": 0.001},
        }


class MemoryIntake:
    """Decodes in this process, without a sandbox.

    Args:
        limits: of pictures; the service's defaults by default.
    """

    def __init__(self, limits: Any = None) -> None:
        self._limits = limits

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def examine(self, data: bytes, name: str) -> Examined:
        from restore.errors import ImageSizeError, RestoreError
        from restore.images import SERVICE_LIMITS, decode, sniff

        try:
            kind = sniff(data, name)
        except RestoreError as error:
            raise Problem(Code.UNSUPPORTED_MEDIA_TYPE, str(error)) from None
        try:
            picture = await asyncio.to_thread(decode, data, limits=self._limits or SERVICE_LIMITS)
        except ImageSizeError as error:
            raise Problem(Code.IMAGE_SIZE, str(error)) from None
        except RestoreError as error:
            raise Problem(Code.UNDECODABLE_IMAGE, str(error)) from None
        return Examined(kind, picture.width, picture.height)

    async def fetch(self, url: str) -> bytes:
        raise Problem(Code.URL_REFUSED, "no URLs here")


if __name__ == "__main__":
    import sys

    import uvicorn

    from service.app import create_app
    from service.settings import Settings

    app = create_app(Settings(), MemoryService(), MemoryIntake())
    uvicorn.run(app, port=int(sys.argv[1]) if len(sys.argv) > 1 else 8000)
