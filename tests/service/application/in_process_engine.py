"""An engine for tests: runs tickets in the event loop, as their parameters say; results are made from the inputs.

parameters: steps, seconds (of each step), and one of: fail (a code), crash (how many attempts end so), machines
(how many are lost with an attempt), lose (ends without a word), burst (raises), previews.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any

from service.blobs import BlobStore
from service.engine.protocol import DeviceStatus, Ticket, WorkerEvent


class InProcessEngine:
    def __init__(self, blobs: BlobStore, slots: int = 4) -> None:
        self.blobs, self.slots = blobs, slots
        self.running: dict[tuple[str, int], asyncio.Event] = {}
        self.starts: Counter[str] = Counter()
        self.order: list[str] = []
        self.most_at_once = 0
        self.closed_early: list[str] = []
        self.steps = 0
        self.stopping = False

    async def start(self) -> None:
        return

    def free_slots(self) -> int:
        return 0 if self.stopping else self.slots - len(self.running)

    def status(self) -> Sequence[DeviceStatus]:
        return [DeviceStatus("cpu", "ready", len(self.running), 0)]

    async def cancel(self, job_id: str, fence: int) -> None:
        if (stop := self.running.get((job_id, fence))) is not None:
            stop.set()

    async def stop(self, seconds: float) -> None:
        self.stopping = True
        deadline = asyncio.get_running_loop().time() + seconds
        while self.running and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.01)
        for stop in self.running.values():
            stop.set()

    async def run(self, ticket: Ticket) -> AsyncIterator[WorkerEvent]:
        key = (ticket.job_id, ticket.fence)
        stop = self.running[key] = asyncio.Event()
        self.order.append(ticket.job_id)
        self.most_at_once = max(self.most_at_once, len(self.running))
        self.starts[ticket.job_id] += 1
        told_end = False
        try:
            yield WorkerEvent("started", {"device": "cpu"})
            async for event in self._work(ticket, stop):
                told_end = event.type in ("succeeded", "failed", "canceled", "interrupted")
                yield event
        except GeneratorExit:
            if not told_end:
                self.closed_early.append(ticket.job_id)
            raise
        finally:
            del self.running[key]

    async def _work(self, ticket: Ticket, stop: asyncio.Event) -> AsyncIterator[WorkerEvent]:
        asked: dict[str, Any] = ticket.parameters
        steps = asked.get("steps", 2)
        if self.starts[ticket.job_id] <= asked.get("crash", 0):
            yield WorkerEvent("interrupted", {"reason": "crash", "blame": True})
            return
        if self.starts[ticket.job_id] <= asked.get("machines", 0):
            yield WorkerEvent("interrupted", {"reason": "lost", "blame": False})
            return
        if asked.get("burst"):
            raise RuntimeError("a bug of the engine")
        for part in range(1, asked.get("parts", 0)):
            await asyncio.sleep(asked.get("seconds", 0.0))
            done = part / asked["parts"] / steps
            yield WorkerEvent("progress", {"step": 0, "steps": steps, "sigma": 1.0, "fraction": done})
        for step in range(1, steps + 1):
            await asyncio.sleep(asked.get("seconds", 0.0))
            self.steps += 1
            if stop.is_set():
                kind = "interrupted" if self.stopping else "canceled"
                yield WorkerEvent(kind, {"reason": "stopped", "blame": False} if self.stopping else {})  # type: ignore[arg-type]
                return
            told = {"step": step, "steps": steps, "sigma": 1.0 / step, "fraction": step / steps}
            yield WorkerEvent("progress", told)
            if ticket.previews:
                data = {"media_type": "image/jpeg", "b64": "AAAA", "step": step, "steps": steps}
                yield WorkerEvent("preview", data)
        if asked.get("lose"):
            return
        if code := asked.get("fail"):
            yield WorkerEvent("failed", {"code": code, "message": f"failed as asked: {code}"})
            return
        if asked.get("warn"):
            yield WorkerEvent("warning", {"code": "clipped", "message": "some values were clipped"})
        result = self.blobs.get(ticket.inputs["image"])[::-1]
        outcome = {
            "outputs": {"result": self.blobs.put(result, "result"), "report": self.blobs.put(b"{}", "report")},
            "media_type": "image/png",
            "width": 8,
            "height": 8,
            "sha256": hashlib.sha256(result).hexdigest(),
            "effective": {"seed": 1},
            "warnings": [],
            "metrics": {"decode": 0.001, "restore": 0.01, "encode": 0.002, "nfe": steps},
        }
        yield WorkerEvent("succeeded", outcome)
