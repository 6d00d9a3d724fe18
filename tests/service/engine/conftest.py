"""A local engine with real worker processes and priors that cost nothing."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service.blobs import FsspecBlobStore
from service.engine import supervisor
from service.engine.local import LocalEngine
from service.engine.protocol import Ticket
from service.settings import Settings

LOADER = f"{Path(__file__).parents[1] / 'worker' / 'priors_for_tests.py'}:load"


class Bench:
    """An engine within one event loop, and pictures to give it."""

    def __init__(self, folder, loader=LOADER, **settings):
        self.blobs = FsspecBlobStore(str(folder))
        settings = {"data_dir": folder, "devices": "cpu", "log_level": "error", **settings}
        self.reports, self.count = [], 0
        self.engine = LocalEngine(Settings(**settings), str(folder), loader=loader, on_report=self.reports.append)

    async def __aenter__(self):
        await self.engine.start()
        await self.until(lambda: self.engine.free_slots() > 0)
        return self

    async def __aexit__(self, *_):
        await self.engine.stop(0.0)
        assert self.pid() is None

    def pid(self):
        return self.engine.workers[0].pid

    async def until(self, condition, seconds=60.0):
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.01)

    def ticket(self, prior=None, width=40, height=32, task="super-resolve", **given):
        self.count += 1
        values = np.random.default_rng(self.count).integers(0, 256, (height, width, 3), np.uint8)
        file = io.BytesIO()
        Image.fromarray(values).save(file, "PNG")
        inputs = {"image": self.blobs.put(file.getvalue(), "input")}
        fields = {k: given.pop(k) for k in ("attempt", "fence") if k in given}
        return Ticket(
            f"job-{self.count}", fields.get("fence", 1), fields.get("attempt", 1), task,
            {"noise": 10, "seed": 1, **({"scale": 2} if task == "super-resolve" else {}), **given}, inputs, prior,
        )  # fmt: skip

    async def follow(self, ticket):
        return [event async for event in self.engine.run(ticket)]

    async def end(self, ticket):
        return (await self.follow(ticket))[-1]


@pytest.fixture
def bench(tmp_path, monkeypatch):
    monkeypatch.setattr(supervisor, "BACKOFF", 0.05)

    def make(**settings):
        return Bench(tmp_path, **settings)

    return make
