"""A real server on a real socket, in a thread of the test's process."""

from __future__ import annotations

import importlib.util
import io
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn
from PIL import Image

from service.app import create_app
from service.application import RestorationService, blob_url
from service.blobs import FsspecBlobStore
from service.intake.examine import create_intake
from service.observability.metrics import Metrics
from service.protection.receiving import deadline_protocol
from service.settings import Settings

SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"


def load(name: str) -> ModuleType:
    """A module that lies beside this file."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


memory = load("memory")
threaded = load("threaded_engine")


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """The server's address."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    settings = app.state.settings
    protocol = deadline_protocol(settings.receive_seconds, settings.idle_seconds)
    config = uvicorn.Config(app, lifespan="on", log_level="warning", timeout_graceful_shutdown=5, http=protocol)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@pytest.fixture(scope="session")
def tiny_prior(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an untrained network of a few thousand weights, as training leaves it."""
    import torch

    from models.unet import DenoisingUNet

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("priors") / "tiny"
    DenoisingUNet(channels=(8, 8), blocks=(1, 1), middle=1).save_pretrained(folder)
    return folder


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", webhook_secret=SECRET)


@pytest.fixture
def service(tiny_prior: Path) -> Any:
    return memory.MemoryService(tiny_prior)


@pytest.fixture
def client(settings: Settings, service: Any) -> Iterator[httpx.Client]:
    """A client of a running server."""
    with (
        serving(create_app(settings, service, memory.MemoryIntake())) as address,
        httpx.Client(base_url=address, timeout=60.0) as client,
    ):
        yield client


@dataclass
class Server:
    """A running server of real parts: SQLite, files, the worker in a thread.

    Attributes:
        url: its address.
        client: speaks to it.
        service, engine, settings: its parts.
    """

    url: str
    client: httpx.Client
    service: RestorationService
    engine: Any
    settings: Settings

    def submit(self, data: bytes, path: str = "/v1/denoise", **given: Any) -> str:
        """The id of a job that was submitted asynchronously."""
        answer = self.client.post(path, content=data, params=given, headers={"Prefer": "respond-async"})
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def ended(self, job_id: str) -> dict[str, Any]:
        """The job once it has ended."""
        job: dict[str, Any] = self.client.get(f"/v1/jobs/{job_id}", headers={"Prefer": "wait=30"}).json()
        assert job["state"] not in ("queued", "running"), job
        return job


Serve = Callable[..., AbstractContextManager[Server]]


@contextmanager
def running(folder: Path, intake: Any = None, tracing: Any = None, **fields: Any) -> Iterator[Server]:
    """A server with these settings; `intake="sandboxed"` for the real one, which starts processes."""
    settings = Settings(data_dir=folder, **{"drain_seconds": 0.0, **fields})
    metrics = Metrics()
    blobs = FsspecBlobStore(blob_url(settings))
    engine = threaded.ThreadedEngine(settings, blob_url(settings), metrics.absorb)
    service = RestorationService(settings, engine, blobs=blobs, metrics=metrics, tracing=tracing)
    own = create_intake(settings) if intake == "sandboxed" else intake or memory.MemoryIntake(settings.limits)
    with (
        serving(create_app(settings, service, own, tracing)) as url,
        httpx.Client(base_url=url, timeout=60.0) as client,
    ):
        yield Server(url, client, service, engine, settings)


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    """Starts a server on this test's folder: `with serve(max_queue=4) as server`."""
    return partial(running, tmp_path / "data")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of all real parts with a prior that costs nothing, for tests that leave it as it is."""
    folder = tmp_path_factory.mktemp("server")
    with running(folder, "sandboxed", webhook_secret=SECRET, max_queue=10_000) as server:
        yield server


Picture = Callable[..., bytes]


@pytest.fixture(scope="session")
def picture() -> Picture:
    """An encoded noisy gradient: picture("png", width, height)."""

    def make(format: str = "png", width: int = 24, height: int = 16, seed: int = 0) -> bytes:
        rng = np.random.default_rng(seed)
        ramp = np.linspace(60, 190, width)[None, :, None] + np.zeros((height, 1, 3))
        pixels = np.clip(ramp + 20 * rng.standard_normal(ramp.shape), 0, 255).astype(np.uint8)
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, format.upper())
        return stream.getvalue()

    return make
