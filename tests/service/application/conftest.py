"""A service of real parts: SQLite, files, and an engine that runs in the event loop."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from service.application import RestorationService, blob_url
from service.blobs import FsspecBlobStore
from service.jobs.model import NewJob
from service.settings import Settings


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


Open = Callable[..., AbstractAsyncContextManager[RestorationService]]


@pytest.fixture
def serving(tmp_path: Path) -> Open:
    """Opens a running service on this test's folder; twice for two servers on one database."""
    engine = _load("in_process_engine").InProcessEngine

    @asynccontextmanager
    async def serve(slots: int = 4, started: bool = True, **fields: Any) -> AsyncIterator[RestorationService]:
        settings = Settings(data_dir=tmp_path, **{"drain_seconds": 0.5, **fields})
        blobs = FsspecBlobStore(blob_url(settings))
        service = RestorationService(settings, engine(blobs, slots), blobs=blobs)
        if started:
            await service.start()
        try:
            yield service
        finally:
            await service.close()

    return serve


@pytest.fixture
def new_job() -> Callable[..., NewJob]:
    """A submission whose picture is stored."""

    def make(service: RestorationService, data: bytes = b"picture", **fields: Any) -> NewJob:
        given = {"task": "denoise", "parameters": {}, "inputs": {"image": service.blobs.put(data, "input")}}
        return NewJob(**{**given, **fields})

    return make


@pytest.fixture
def run() -> Callable[[Callable[[], Awaitable[None]]], None]:
    """Runs a test's coroutine; a minute is long for any."""

    def go(test: Callable[[], Awaitable[None]]) -> None:
        async def limited() -> None:
            async with asyncio.timeout(60):
                await test()

        asyncio.run(limited())

    return go
