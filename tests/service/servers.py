"""Servers that the service needs, started for the tests on ports of their own: PostgreSQL and S3."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

from sqlalchemy import create_engine, text


class MissingError(Exception):
    """A server's program is not installed."""


def free_port() -> int:
    """One that nothing listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def _binary(name: str) -> str | None:
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if (folder / name).exists():
            return str(folder / name)
    return shutil.which(name)


@contextmanager
def postgres_server() -> Iterator[str]:
    """URL of a PostgreSQL server: the one that PELLUCID_TEST_POSTGRES names, or a new one."""
    if given := os.environ.get("PELLUCID_TEST_POSTGRES"):
        yield given
        return
    initdb, server = _binary("initdb"), _binary("postgres")
    if initdb is None or server is None:
        raise MissingError("needs PostgreSQL: install it, or let PELLUCID_TEST_POSTGRES name a server")
    user: dict[str, Any] = {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}  # it refuses root
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    if user:
        shutil.chown(folder, "postgres", "postgres")
    data = folder / "data"
    initialise = [initdb, "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"]
    subprocess.run(initialise, check=True, capture_output=True, cwd=folder, **user)
    port = free_port()
    options = ["-p", str(port), "-h", "127.0.0.1", "-k", str(folder), "-c", "fsync=off", "-c", "max_connections=200"]
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen([server, "-D", data, *options], stdout=log, stderr=log, cwd=folder, **user)
    ready = [_binary("pg_isready") or "pg_isready", "-h", "127.0.0.1", "-p", str(port)]
    try:
        while subprocess.run(ready, capture_output=True).returncode:
            assert process.poll() is None, (folder / "log").read_text()
            time.sleep(0.02)
        yield f"postgresql+psycopg://postgres@127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def postgres_database(server: str) -> Iterator[str]:
    """URL of an empty database on a server."""
    name = f"test_{uuid.uuid4().hex}"
    engine = create_engine(f"{server}/postgres", isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
        yield f"{server}/{name}"
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()


@dataclass(frozen=True)
class Bucket:
    """Where it is, and what a process needs in its environment to reach it."""

    url: str
    environment: dict[str, str]


@contextmanager
def s3_server(folder: Path) -> Iterator[Bucket]:
    """An empty bucket on a new S3 server."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with open(folder / "log", "wb") as log:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        while True:
            assert process.poll() is None, (folder / "log").read_text()
            try:
                with urlopen(Request(f"{address}/pellucid", method="PUT")):
                    break
            except (URLError, ConnectionError):
                time.sleep(0.1)
        environment = {
            "AWS_ENDPOINT_URL": address,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        yield Bucket("s3://pellucid/tests", environment)
    finally:
        process.terminate()
        process.wait()
