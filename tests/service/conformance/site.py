"""Real server processes on one database and one blob store, and what one does to them."""

from __future__ import annotations

import io
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[3]
SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"
#: Longest that anything may take on a busy machine.
PATIENCE = 120.0


def environment(**extra: str) -> dict[str, str]:
    """Of processes: this checkout's packages, one thread; Ray's own neither polite nor locked."""
    given = {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "client")]),
        "OMP_NUM_THREADS": "1",
        "RAY_AUTH_MODE": "disabled",
        "RAY_worker_niceness": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PELLUCID_")}
    return {**kept, **given, **extra}


def until(condition: Callable[[], Any], what: str = "", seconds: float = PATIENCE) -> Any:
    """What the condition says once it says something."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.05)
    return found


def picture(seed: int = 0, width: int = 40, height: int = 32) -> bytes:
    """A small PNG."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def descendants(pid: int) -> dict[int, str]:
    """Processes below one, with their command lines."""
    parents, lines = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                lines[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
    found: dict[int, str] = {}
    fresh = [pid]
    while fresh:
        children = [child for child, parent in parents.items() if parent in fresh]
        found |= {child: lines[child] for child in children}
        fresh = children
    return found


@dataclass
class Server:
    """One API process."""

    process: subprocess.Popen[bytes]
    folder: Path
    client: httpx.Client = field(default_factory=httpx.Client)

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def submit(
        self,
        prior: str = "cheap",
        *,
        seed: int = 0,
        size: tuple[int, int] = (40, 32),
        key: str | None = None,
        expect: int = 202,
        **parameters: Any,
    ) -> str:
        """The id of a new job, or of the one that the key made."""
        headers = {"Content-Type": "image/png", "Prefer": "respond-async"}
        if key is not None:
            headers["Idempotency-Key"] = key
        query = {"scale": 2, "noise": 10, "seed": 1, "prior": prior, **parameters}
        answer = self.client.post("/v1/super-resolve", params=query, content=picture(seed, *size), headers=headers)
        assert answer.status_code == expect, answer.text
        job_id: str = answer.json().get("id", "")
        return job_id

    def job(self, job_id: str) -> dict[str, Any]:
        answer = self.client.get(f"/v1/jobs/{job_id}")
        assert answer.status_code == 200, answer.text
        job: dict[str, Any] = answer.json()
        return job

    def result(self, job_id: str) -> bytes:
        answer = self.client.get(f"/v1/jobs/{job_id}/result", headers={"Accept": "image/png"})
        assert answer.status_code == 200, answer.text
        return answer.content

    def until(self, job_id: str, state: str, seconds: float = PATIENCE) -> dict[str, Any]:
        """The job once it is in a state; nothing else may end it."""

        def there() -> dict[str, Any] | None:
            job = self.job(job_id)
            ended = job["state"] not in ("queued", "running")
            assert job["state"] == state or not ended, f"{job}\n{self.log}"
            return job if job["state"] == state else None

        found: dict[str, Any] = until(there, f"job {job_id} {state}: {self.job(job_id)}", seconds)
        return found

    def begun(self, job_id: str) -> dict[str, Any]:
        """The job once it has made progress."""
        found: dict[str, Any] = until(lambda: (job := self.job(job_id)) and job["progress"]["step"] and job, "progress")
        return found

    def events(self, job_id: str) -> list[tuple[str, str]]:
        """(type, data) of the job's events, until its end."""
        found, kind = [], ""
        with self.client.stream("GET", f"/v1/jobs/{job_id}/events", timeout=PATIENCE) as answer:
            for line in answer.iter_lines():
                name, _, value = line.partition(": ")
                if name == "event":
                    kind = value
                elif name == "data":
                    found.append((kind, value))
        return found

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The process does nothing meanwhile, as on a machine that is swapping or cut off. It is not stopped in the
        middle of a write, which would keep SQLite locked for everyone else."""
        until(self._stopped_between_writes, "a moment in which it writes nothing")
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def _stopped_between_writes(self) -> bool:
        self.process.send_signal(signal.SIGSTOP)
        database = self.folder.parent / "jobs.db"
        if not database.exists():  # in PostgreSQL, what others write does not wait for it
            return True
        with closing(sqlite3.connect(database, timeout=1.0, isolation_level=None)) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                self.process.send_signal(signal.SIGCONT)
                return False
            connection.rollback()
        return True

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        self.client.close()
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


@dataclass
class Site:
    """An engine, a database and a blob store; `home` is a server that runs all the time."""

    engine: str
    folder: Path
    settings: dict[str, str]
    cluster: int | None = None
    servers: list[Server] = field(default_factory=list)

    @property
    def home(self) -> Server:
        return self.servers[0]

    def start(self, *, ready: bool = True, **settings: str) -> Server:
        """Another server process, as on a machine of its own, once it is ready."""
        folder = self.folder / f"server-{len(self.servers)}"
        folder.mkdir()
        command = [sys.executable, str(Path(__file__).with_name("server.py")), "serve", "--port", "0"]
        given = environment(PELLUCID_DATA_DIR=str(folder), **{**self.settings, **settings})
        with open(folder / "log", "wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env=given, cwd=folder)
        server = Server(process, folder)
        self.servers.append(server)

        def address() -> str | None:
            assert process.poll() is None, server.log
            found = re.search(r"serves at (http://\S+)", server.log)
            return found and found[1]

        server.client = httpx.Client(base_url=until(address, "an address"), timeout=PATIENCE)
        if ready:
            until(lambda: _ready(server), f"readiness\n{server.log[-3000:]}")
        return server

    def second(self) -> Server:
        """A server beside the first: the one of the test before, unless it is gone."""
        if len(self.servers) == 1 or self.servers[-1].process.poll() is not None:
            self.start()
        return self.servers[-1]

    def run_at(self, server: Server, others: Server, *args: Any, **kwargs: Any) -> str:
        """A job that one server certainly runs: the other is paused until it has begun."""
        with others.paused():
            job_id = server.submit(*args, **kwargs)
            server.begun(job_id)
        return job_id

    def workers(self, server: Server) -> list[int]:
        """Worker processes that a server uses."""
        above = server.process.pid if self.cluster is None else self.cluster
        return [pid for pid, line in descendants(above).items() if "-m service.worker" in line]

    def replicas(self) -> list[int]:
        """Processes of Ray Serve that keep a worker."""
        assert self.cluster is not None
        return [pid for pid, line in descendants(self.cluster).items() if line.startswith("ray::ServeReplica:pellucid")]

    def stop(self) -> None:
        for server in self.servers:
            server.stop()


def _ready(server: Server) -> bool:
    assert server.process.poll() is None, server.log
    try:
        return server.client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False
