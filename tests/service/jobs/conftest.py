"""Both databases, so that each promise of the store is tested on each."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from service.jobs.model import NewJob
from service.jobs.sql import SqlJobStore
from service.jobs.store import Outcome


def _binary(name: str) -> str | None:
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if (folder / name).exists():
            return str(folder / name)
    return shutil.which(name)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """URL of a PostgreSQL server: the one that PELLUCID_TEST_POSTGRES names, or one started for these tests."""
    if given := os.environ.get("PELLUCID_TEST_POSTGRES"):
        yield given
        return
    initdb, server = _binary("initdb"), _binary("postgres")
    if initdb is None or server is None:
        pytest.skip("needs PostgreSQL: install it, or let PELLUCID_TEST_POSTGRES name a server")
    user: dict[str, Any] = {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}  # it refuses root
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    if user:
        shutil.chown(folder, "postgres", "postgres")
    data = folder / "data"
    initialise = [initdb, "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"]
    subprocess.run(initialise, check=True, capture_output=True, cwd=folder, **user)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["-p", str(port), "-h", "127.0.0.1", "-k", str(folder), "-c", "fsync=off", "-c", "max_connections=200"]
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen([server, "-D", data, *options], stdout=log, stderr=log, cwd=folder, **user)
    url = f"postgresql+psycopg://postgres@127.0.0.1:{port}"
    ready = [_binary("pg_isready") or "pg_isready", "-h", "127.0.0.1", "-p", str(port)]
    try:
        while subprocess.run(ready, capture_output=True).returncode:
            assert process.poll() is None, (folder / "log").read_text()
        yield url
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of an empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'jobs.db'}"
        return
    server, name = request.getfixturevalue("postgres"), f"test_{uuid.uuid4().hex}"
    engine = create_engine(f"{server}/postgres", isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
        yield f"{server}/{name}"
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()


@pytest.fixture
def stores(url: str) -> Iterator[Callable[[], SqlJobStore]]:
    """Opens stores on one database, as several servers would."""
    opened = []

    def make() -> SqlJobStore:
        opened.append(SqlJobStore(url))
        opened[-1].open()
        return opened[-1]

    yield make
    for store in opened:
        store.close()


@pytest.fixture
def store(stores: Callable[[], SqlJobStore]) -> SqlJobStore:
    return stores()


@pytest.fixture
def new_job() -> Callable[..., NewJob]:
    defaults: dict[str, Any] = {"task": "denoise", "parameters": {"noise": 25}, "inputs": {"image": "input/a"}}
    return lambda **fields: NewJob(**{**defaults, **fields})


@pytest.fixture
def outcome() -> Callable[..., Outcome]:
    defaults: dict[str, Any] = {
        "outputs": {"result": "result/a", "report": "report/a"},
        "media_type": "image/png",
        "width": 64,
        "height": 48,
        "sha256": "ab" * 32,
        "effective": {"seed": 7, "noise": 25.0},
        "warnings": [{"code": "clipped", "message": "some"}],
        "metrics": {"restore": 0.5, "nfe": 4.0},
        "degraded": "tile=256;reason=oom",
    }
    return lambda **fields: Outcome(**{**defaults, **fields})
