"""The local engine: one worker process for each device of this machine."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from service.blobs import BlobStore, url_of
from service.engine.protocol import DeviceStatus, Ticket, WorkerEvent
from service.engine.supervisor import ENDS, Supervisor
from service.observability.metrics import Metrics
from service.settings import Settings
from service.worker.config import WorkerConfig

#: In a process of its own: the server does without torch.
_PROBE = "import json, torch; print(json.dumps(torch.cuda.device_count()))"


class LocalEngine:
    """`Engine` on this machine.

    Args:
        settings: the server's.
        blob_url: what the workers open to read inputs and write results.
        loader: see `WorkerConfig.loader`; for tests.
        on_report: given what workers counted; see `service.observability.metrics.Metrics.absorb`.
        on_change: called when a worker's state or the number of running tickets has changed, such as when a slot
            became free.
    """

    def __init__(
        self,
        settings: Settings,
        blob_url: str,
        *,
        loader: str = "",
        on_report: Callable[[dict[str, Any]], None] = lambda report: None,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings, self._blob_url, self._loader = settings, blob_url, loader
        self.on_report, self.on_change = on_report, on_change
        self.workers: list[Supervisor] = []
        self._changed = asyncio.Event()
        self._starting: asyncio.Task[None] | None = None
        self._stopping = False

    async def start(self) -> None:
        self._starting = asyncio.create_task(self._start(), name="local engine start")

    def run(self, ticket: Ticket) -> AsyncIterator[WorkerEvent]:
        return self._run(ticket)

    async def _run(self, ticket: Ticket) -> AsyncIterator[WorkerEvent]:
        worker = max(self.workers, key=lambda w: w.free, default=None)
        if worker is None or worker.free < 1:
            # Between the claim and now the last ready worker has died: somebody else may try.
            yield WorkerEvent("interrupted", {"reason": "device", "blame": False})
            return
        key = (ticket.job_id, ticket.fence)
        events = worker.submit(ticket)
        try:
            while True:
                event = await events.get()
                yield event
                if event.type in ENDS:
                    return
        finally:
            worker.forget(key)

    async def cancel(self, job_id: str, fence: int) -> None:
        for worker in self.workers:
            worker.cancel((job_id, fence))

    def free_slots(self) -> int:
        return 0 if self._stopping else sum(max(0, worker.free) for worker in self.workers)

    def status(self) -> Sequence[DeviceStatus]:
        if not self.workers:
            return [DeviceStatus(self._settings.devices, "starting", 0, 0, "looking for devices")]
        return [worker.status for worker in self.workers]

    async def stop(self, seconds: float) -> None:
        self._stopping = True
        if self._starting is not None:
            self._starting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._starting
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while any(worker.tickets for worker in self.workers):
                    self._changed.clear()
                    await self._changed.wait()
        await asyncio.gather(*(worker.stop() for worker in self.workers))

    async def _start(self) -> None:
        for device in await _devices(self._settings.devices):
            config = WorkerConfig.of(self._settings, device, self._blob_url, self._loader)
            worker = Supervisor(config, self._settings.hang_seconds, self._report, self._change)
            self.workers.append(worker)
            worker.start()

    def _report(self, report: dict[str, Any]) -> None:
        self.on_report(report)

    def _change(self) -> None:
        self._changed.set()
        self.on_change()


def create_engine(
    settings: Settings, blobs: BlobStore, metrics: Metrics, on_change: Callable[[], None] = lambda: None
) -> LocalEngine:
    """The engine of a server, its workers' counts in the server's metrics.

    Args:
        settings: of the server.
        blobs: the server's; the workers open the same place.
        metrics: told what the workers did.
        on_change: see `LocalEngine`.
    """
    return LocalEngine(settings, url_of(blobs), on_report=metrics.absorb, on_change=on_change)


async def _devices(wanted: str) -> list[str]:
    """The devices of the setting; for "auto" every CUDA device that torch can use, else the CPU."""
    if wanted != "auto":
        return [name.strip() for name in wanted.split(",") if name.strip()]
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:  # no driver: spare the seconds that importing torch takes
        return ["cpu"]
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", _PROBE, stdout=asyncio.subprocess.PIPE)
    answer, _ = await process.communicate()
    count = int(json.loads(answer or "0"))
    return [f"cuda:{i}" for i in range(count)] or ["cpu"]
