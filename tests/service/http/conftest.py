"""A real server on a real socket, in a thread of the test's process."""

from __future__ import annotations

import importlib.util
import io
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn
from PIL import Image

from service.app import create_app
from service.settings import Settings


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


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """The server's address."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, lifespan="on", log_level="warning", timeout_graceful_shutdown=5))
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
    return Settings(data_dir=tmp_path / "data", webhook_secret="whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3")


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


Picture = Callable[..., bytes]


@pytest.fixture
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
