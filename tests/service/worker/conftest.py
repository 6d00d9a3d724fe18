"""A worker without a process: its step loop runs in a thread of the test, what it says is kept."""

from __future__ import annotations

import io
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service.blobs import FsspecBlobStore
from service.engine.protocol import Ticket
from service.worker.config import WorkerConfig
from service.worker.worker import DeviceWorker

LOADER = f"{Path(__file__).with_name('priors_for_tests.py')}:load"
ENDS = ("succeeded", "failed", "canceled")


class Harness:
    def __init__(self, folder, **config):
        self.blobs = FsspecBlobStore(str(folder))
        config = {"device": "cpu", "blob_url": str(folder), "loader": LOADER, **config}
        self.said, self.heard, self.count, self.error = [], threading.Condition(), 0, None
        self.worker = DeviceWorker(WorkerConfig(**config), self.blobs, self._hear)
        self.thread = threading.Thread(target=self._serve)

    def _serve(self):
        try:
            self.worker.serve()
        except Exception as error:
            with self.heard:
                self.error = error
                self.heard.notify_all()

    def _hear(self, message):
        with self.heard:
            self.said.append((time.monotonic(), message))
            self.heard.notify_all()

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.worker.stop()
        self.thread.join(20)
        assert not self.thread.is_alive()

    def picture(self, width=40, height=32, seed=0, mode="RGB"):
        values = np.random.default_rng(seed).integers(0, 256, (height, width, len(mode)), np.uint8)
        file = io.BytesIO()
        Image.fromarray(values if len(mode) > 1 else values[..., 0]).save(file, "PNG")
        return self.blobs.put(file.getvalue(), "input")

    def ticket(self, image=None, task="denoise", prior=None, inputs=None, **given):
        self.count += 1
        fields = {k: given.pop(k) for k in ("priority", "previews", "output", "attempt") if k in given}
        parameters = {"seed": 1, **({"noise": 20} if task in ("denoise", "super-resolve") else {}), **given}
        return Ticket(
            f"job-{self.count}", 1, fields.pop("attempt", 1), task, parameters,
            inputs or {"image": image or self.picture()}, prior, **fields,
        )  # fmt: skip

    def submit(self, *args, **given):
        ticket = self.ticket(*args, **given)
        self.worker.submit(ticket)
        return ticket.job_id

    def events(self, job):
        return [m for _, m in self.said if m["say"] == "event" and m["job"] == job]

    def wait(self, condition, seconds=30.0):
        with self.heard:
            assert self.heard.wait_for(lambda: self.error is not None or condition(), seconds), self.said[-5:]
            if self.error is not None:
                raise self.error

    def wait_for(self, job, type, seconds=30.0):
        """The first event of a type."""
        self.wait(lambda: any(e["type"] == type for e in self.events(job)), seconds)
        return next(e for e in self.events(job) if e["type"] == type)

    def end(self, job, seconds=30.0):
        """(type, data) of the last event."""
        self.wait(lambda: any(e["type"] in ENDS for e in self.events(job)), seconds)
        last = self.events(job)[-1]
        assert last["type"] in ENDS
        return last["type"], last["data"]

    def succeed(self, job):
        type, data = self.end(job)
        assert type == "succeeded", data
        return data

    def result(self, job):
        return self.blobs.get(self.succeed(job)["outputs"]["result"])

    def batches(self):
        """Rows of every denoiser call so far, as reported."""
        return [b[0] for _, m in self.said if m["say"] == "report" for b in m["report"]["batches"]]


@pytest.fixture
def worker(tmp_path):
    with Harness(tmp_path / "blobs") as harness:
        yield harness


@pytest.fixture
def start(tmp_path):
    """Start workers of other configurations."""
    started = []

    def make(**config):
        harness = Harness(tmp_path / "blobs", **config)
        started.append(harness)
        return harness.__enter__()

    yield make
    for harness in started:
        harness.__exit__()
