"""Servers of the tests beside this file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.service.faults.processes import Server

Start = Callable[..., Server]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a server on this test's folder; whatever still runs at the end is killed."""
    started: list[Server] = []

    def make(ready: bool = True, **settings: Any) -> Server:
        server = Server(tmp_path, **settings)
        started.append(server)
        return server.start(ready)

    yield make
    for server in started:
        if server.process is not None and server.process.poll() is None:
            server.kill()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for the tests of a module that leave it in order."""
    server = Server(tmp_path_factory.mktemp("server"), hang_seconds=4).start()
    yield server
    server.signal()
    assert server.wait() == 0
