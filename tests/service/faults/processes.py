"""`pellucid serve` as a process, with workers whose priors cost nothing or go wrong on purpose, and clients of it."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

from tests.service.servers import free_port

ROOT = Path(__file__).parents[3]
MARKERS = "markers"


class Server:
    """A server process on one folder; started again after a kill, it finds what the one before left.

    Args:
        folder: of its data, its log, and what its priors leave.
        log: name of that file.
        command: "pellucid" for `pellucid serve`, "uvicorn" for `uvicorn service.app:app`.
        settings: as `service.settings.Settings` names them.
    """

    def __init__(self, folder: Path, log: str = "log", command: str = "pellucid", **settings: Any) -> None:
        self.folder, self.log, self.command = folder, folder / log, command
        (folder / MARKERS).mkdir(parents=True, exist_ok=True)
        given = {
            "data_dir": folder / "data", "port": 0, "devices": "cpu", "threads": 1, "log_level": "warning",
            "max_batch": 2, "drain_seconds": 20, **settings,
        }  # fmt: skip
        self._environment = {
            **os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}", "OMP_NUM_THREADS": "1",
            "PELLUCID_TEST_MARKERS": str(folder / MARKERS),
            **{f"PELLUCID_{name.upper()}": str(value) for name, value in given.items()},
        }  # fmt: skip
        self.process: subprocess.Popen[bytes] | None = None
        self.address = ""

    def start(self, ready: bool = True) -> Server:
        """Start the process; returns once its workers are ready, or once it answers."""
        before = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            command = [sys.executable, str(Path(__file__).with_name("serve_test_priors.py"))]
            if self.command == "uvicorn":
                command += ["uvicorn", str(free_port())]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=log, env=self._environment)
        self.until(lambda: "pellucid serves at" in self.text()[before:])
        self.address = self.text()[before:].split("pellucid serves at ")[1].split()[0]
        self.until(lambda: self.ready() if ready else self.status("/livez") == 200)
        return self

    def until(self, condition: Callable[[], bool], seconds: float = 90.0) -> None:
        """Wait for something; fail when the process ends over it."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.process is None or self.process.poll() is None, self.text()[-4000:]
            assert time.monotonic() < deadline, self.text()[-4000:]
            time.sleep(0.02)

    def text(self) -> str:
        """What the processes have logged so far."""
        return self.log.read_text()

    def status(self, path: str) -> int:
        """HTTP status of a path, 0 when nobody answers."""
        try:
            return httpx.get(self.address + path, timeout=20.0).status_code
        except httpx.TransportError:
            return 0

    def ready(self) -> bool:
        """Whether the server takes work."""
        return self.status("/readyz") == 200

    def client(self) -> httpx.Client:
        """A client with time to wait."""
        return httpx.Client(base_url=self.address, timeout=90.0)

    def worker(self) -> int | None:
        """Process id of the worker that lives now."""
        assert self.process is not None
        found = children(self.process.pid, "service.worker")
        return found[0] if found else None

    def kill(self) -> None:
        """As `kill -9` does."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def signal(self, number: int = signal.SIGTERM) -> None:
        """Send the server a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def wait(self, seconds: float = 60.0) -> int:
        """Exit status of the process, once it has ended by itself."""
        assert self.process is not None
        return self.process.wait(seconds)


def children(pid: int, word: str) -> list[int]:
    """Living child processes whose command line holds a word."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == pid and word in (entry / "cmdline").read_text():
                    found.append(int(entry.name))
            except OSError:
                continue
    return sorted(found)


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def picture(width: int = 40, height: int = 32, seed: int = 0) -> bytes:
    """An encoded picture of noise."""
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(values).save(file, "PNG")
    return file.getvalue()


def ask(client: httpx.Client, data: bytes, headers: dict[str, str] | None = None, **given: Any) -> httpx.Response:
    """POST /restore: super-resolution by two, eight denoiser calls unless said otherwise."""
    fields = {"task": "super-resolve", "scale": 2, "noise": 10, "fidelity": 0.4, **given}
    files = {"image": ("in.png", data, "image/png")}
    return client.post("/restore", files=files, data={k: str(v) for k, v in fields.items()}, headers=headers)


def submit(client: httpx.Client, data: bytes, **given: Any) -> str:
    """Id of an asynchronous job."""
    answer = ask(client, data, {"Prefer": "respond-async"}, **given)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def job(client: httpx.Client, job_id: str) -> dict[str, Any]:
    """A job as it is now."""
    answer = client.get(f"/v1/jobs/{job_id}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def ended(client: httpx.Client, job_id: str, seconds: float = 90.0) -> dict[str, Any]:
    """A job once it has ended."""
    deadline = time.monotonic() + seconds
    while (found := job(client, job_id))["state"] in ("queued", "running"):
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return found


def result(client: httpx.Client, job_id: str) -> bytes:
    """The picture of a succeeded job."""
    answer = client.get(f"/v1/jobs/{job_id}/result")
    assert answer.status_code == 200, answer.text
    return answer.content


def events(client: httpx.Client, job_id: str, after: int = 0) -> list[tuple[int, str]]:
    """(id, type) of an ended job's events."""
    answer = client.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": str(after)} if after else {})
    assert answer.status_code == 200, answer.text
    found = []
    for block in answer.text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line and not line.startswith(":"))
        if "event" in lines:
            found.append((int(lines["id"]), lines["event"]))
    return found


def metric(client: httpx.Client, name: str) -> float:
    """A number of GET /metrics."""
    for line in client.get("/metrics").text.splitlines():
        if line.startswith(f"{name} "):
            return float(line.split()[1])
    raise AssertionError(f"no metric {name}")
