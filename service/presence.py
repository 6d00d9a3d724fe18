"""Which servers of this machine are alive, told by locks that the kernel drops when their holder dies, however it dies.

Leases tell the same for servers on other machines, only later.
"""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from typing import IO

from service.jobs.ids import uuid7

try:
    import fcntl
except ImportError:  # Windows: leases alone tell there
    fcntl = None  # type: ignore[assignment]


class Presence:
    """This server's name among workers, held as a lock while it lives.

    Args:
        folder: shared by the servers of this machine.

    Attributes:
        name: of this server; never used again.
    """

    def __init__(self, folder: Path) -> None:
        self.name = f"{re.sub(r'[^A-Za-z0-9.-]', '-', socket.gethostname())[:64]}-{uuid7()}"
        self._folder = folder
        self._file: IO[bytes] | None = None

    def enter(self) -> None:
        """Take the lock."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = open(self._path(self.name), "wb")  # noqa: SIM115 - held until leave()
        if fcntl is not None:
            fcntl.flock(self._file, fcntl.LOCK_EX)

    def leave(self) -> None:
        """Drop the lock and its file."""
        if self._file is not None:
            self._path(self.name).unlink(missing_ok=True)
            self._file.close()
            self._file = None

    def is_dead(self, name: str) -> bool:
        """Whether another server certainly lives no more; False when this machine cannot tell."""
        if fcntl is None or name == self.name or os.sep in name:
            return False
        try:
            with open(self._path(name), "rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # held, or never on this machine
            return False
        return True

    def forget(self, name: str) -> None:
        """Remove a dead server's file."""
        self._path(name).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.lock"
