"""The worker itself in a thread of this process instead of a process of its own: starts at once, restores for real."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

from service.blobs import FsspecBlobStore
from service.engine.protocol import DeviceStatus, Ticket, WorkerEvent
from service.engine.supervisor import ENDS
from service.settings import Settings
from service.worker.config import WorkerConfig
from service.worker.worker import DeviceWorker

LOADER = f"{Path(__file__).parents[1] / 'worker' / 'priors_for_tests.py'}:load"


class ThreadedEngine:
    """`service.engine.protocol.Engine` over one DeviceWorker.

    Args:
        settings: of the server; `prior` names one of `priors_for_tests`.
        blob_url: where inputs and results lie.
        on_report: given what the worker counted.
    """

    def __init__(self, settings: Settings, blob_url: str, on_report: Callable[[dict[str, Any]], None]) -> None:
        s = settings
        config = WorkerConfig(
            "cpu", blob_url, prior=s.prior, tile=s.tile, jobs_at_once=s.jobs_at_once, max_bytes=s.max_bytes,
            max_pixels=s.max_pixels, max_output_pixels=s.max_output_pixels, max_side=s.max_side, loader=LOADER,
        )  # fmt: skip
        self.slots, self.state = s.jobs_at_once, "ready"
        self.worker = DeviceWorker(config, FsspecBlobStore(blob_url), self._say)
        self.tickets: dict[tuple[str, int], asyncio.Queue[WorkerEvent]] = {}
        self.steps = self.restarts = 0
        self._on_report = on_report
        self._loop: asyncio.AbstractEventLoop
        self._thread = threading.Thread(target=self.worker.serve, name="worker")

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        answer = self.worker._device.answer

        def counted(batch: Any) -> Any:
            self.steps += 1
            return answer(batch)

        self.worker._device.answer = counted  # type: ignore[method-assign]
        self._thread.start()

    def _say(self, message: dict[str, Any]) -> None:
        if message["say"] == "report":
            self._loop.call_soon_threadsafe(self._on_report, message["report"])
        elif message["say"] == "event":
            key = (message["job"], message["fence"])
            self._loop.call_soon_threadsafe(self._deliver, key, WorkerEvent(message["type"], message["data"]))

    def _deliver(self, key: tuple[str, int], event: WorkerEvent) -> None:
        events = self.tickets.get(key)
        if events is not None:
            events.put_nowait(event)
        if event.type in ENDS:
            self.tickets.pop(key, None)

    async def run(self, ticket: Ticket) -> AsyncIterator[WorkerEvent]:
        key = (ticket.job_id, ticket.fence)
        events = self.tickets[key] = asyncio.Queue()
        self.worker.submit(ticket)
        try:
            while True:
                event = await events.get()
                yield event
                if event.type in ENDS:
                    return
        finally:
            if self.tickets.pop(key, None) is not None:
                self.worker.cancel(key)

    async def cancel(self, job_id: str, fence: int) -> None:
        self.worker.cancel((job_id, fence))

    def free_slots(self) -> int:
        return self.slots - len(self.tickets)

    def status(self) -> Sequence[DeviceStatus]:
        return [DeviceStatus("cpu", self.state, len(self.tickets), self.restarts)]  # type: ignore[arg-type]

    async def stop(self, seconds: float) -> None:
        self.slots = 0
        for key in list(self.tickets):
            self._deliver(key, WorkerEvent("interrupted", {"reason": "stopped", "blame": False}))
        self.worker.stop()
        await asyncio.to_thread(self._thread.join)
