"""A real server in a process of its own, and what it holds: memory, descriptors, threads, by process.

Run as a program, it is that server: python serving.py EMBEDDED_OR_TRIVIAL, with settings from the environment.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Held:
    """What the processes of a server hold together; resident bytes also by role."""

    bytes: int
    descriptors: int
    threads: int
    by_role: dict[str, int]


@dataclass
class Running:
    """A server that answers.

    Attributes:
        url: its address.
        process: the server's own; worker and decoders are its children.
        data: its folder.
    """

    url: str
    process: subprocess.Popen[bytes]
    data: Path

    def processes(self) -> dict[str, list[int]]:
        """Process ids by role: "server", "worker", "decoder"."""
        found: dict[str, list[int]] = {"server": [self.process.pid], "worker": [], "decoder": []}
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                command = (entry / "cmdline").read_bytes()
            except (OSError, IndexError, ValueError):
                continue
            if parent == self.process.pid:
                found["decoder" if b"decoder" in command else "worker"].append(int(entry.name))
        return found

    def held(self) -> Held:
        """Resident memory, open descriptors and threads, of all processes."""
        total, by_role = [0, 0, 0], dict[str, int]()
        for role, pid in ((role, pid) for role, pids in self.processes().items() for pid in pids):
            folder = Path("/proc") / str(pid)
            status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines() if ":" in line)
            resident = int(status["VmRSS"].split()[0]) * 1024
            by_role[role] = by_role.get(role, 0) + resident
            total[0] += resident
            total[1] += len(list((folder / "fd").iterdir()))
            total[2] += int(status["Threads"])
        return Held(*total, by_role)

    def files(self) -> int:
        """Stored pictures."""
        return sum(path.is_file() for path in (self.data / "blobs").rglob("*"))


@contextmanager
def serving(folder: Path, prior: str = "embedded", **settings: object) -> Iterator[Running]:
    """A server that is ready; `settings` as `service.settings.Settings` names them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    given = {"data_dir": folder, "port": port, "log_level": "warning", "drain_seconds": 2, **settings}
    environment = os.environ | {f"PELLUCID_{name.upper()}": str(value) for name, value in given.items()}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([sys.executable, __file__, prior], env=environment, stdout=log, stderr=log)
    running = Running(f"http://127.0.0.1:{port}", process, folder)
    try:
        _until_ready(running)
        yield running
    finally:
        process.terminate()
        process.wait(600)  # it may stand still with the machine


def _until_ready(running: Running) -> None:
    deadline = time.monotonic() + 120.0
    while time.monotonic() < deadline and running.process.poll() is None:
        try:
            if httpx.get(f"{running.url}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise SystemExit(f"the server did not start: {(running.data / 'log').read_text()[-2000:]}")


def main() -> None:
    """Serve."""
    from service.cli.serve import run
    from service.engine import local
    from service.settings import Settings

    if sys.argv[1] == "trivial":
        local.LocalEngine = partial(local.LocalEngine, loader=f"{HERE / 'trivial_prior.py'}:load")  # type: ignore[misc,assignment]
    run(Settings())


if __name__ == "__main__":
    main()
