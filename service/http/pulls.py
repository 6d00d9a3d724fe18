"""Priors being fetched for an operator, one after another, beside the requests."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from restore.errors import RestoreError

log = logging.getLogger("pellucid.models")


class _StoppedError(Exception):
    """The pull is no longer wanted."""


@dataclass
class Pull:
    """One of them.

    Attributes:
        name: of the prior.
        received: bytes of the present file.
        error: code of what ended it; "" while it goes on.
        stop: set when it is no longer wanted.
        over: set when it has ended.
    """

    name: str
    received: int = 0
    error: str = ""
    stop: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)


class Pulls:
    """Fetches priors in a thread. What a shutdown interrupts goes on at the next pull of the same prior."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="pull")
        self._pulls: dict[str, Pull] = {}
        self._lock = threading.Lock()

    def start(self, name: str) -> Pull:
        """Begin to fetch a prior, unless that is under way."""
        with self._lock:
            known = self._pulls.get(name)
            if known is None or known.error or known.over.is_set():
                known = self._pulls[name] = Pull(name)
                self._pool.submit(self._run, known)
            return known

    def all(self) -> dict[str, Pull]:
        """By prior: the pulls that are under way, and those that failed.

        Look here before looking which priors are installed: a pull is gone once its prior is.
        """
        with self._lock:
            return dict(self._pulls)

    def stop(self, name: str) -> bool:
        """End the pull of a prior and forget how it went; whether one was under way. Waits until it has ended."""
        with self._lock:
            pull = self._pulls.get(name)
        if pull is None:
            return False
        under_way = not pull.over.is_set()
        pull.stop.set()
        pull.over.wait()
        with self._lock:
            self._pulls.pop(name, None)
        return under_way

    def close(self) -> None:
        """End all pulls."""
        with self._lock:
            pulls = list(self._pulls.values())
        for pull in pulls:
            pull.stop.set()
        self._pool.shutdown(wait=True)

    def _run(self, pull: Pull) -> None:
        from models.errors import DownloadError
        from models.registry.pull import pull as fetch

        def told(progress: Any) -> None:
            pull.received = progress.bytes
            if pull.stop.is_set():
                raise _StoppedError

        def waiting() -> None:
            raise DownloadError(f"another process is pulling {pull.name}")

        try:
            if not pull.stop.is_set():
                facts = fetch(pull.name, on_progress=told, on_wait=waiting)
                log.info("the prior %s was pulled, %s", facts.name, facts.digest)
            with self._lock:
                self._pulls.pop(pull.name, None)
        except _StoppedError:
            pull.error = "stopped"
        except RestoreError as error:
            pull.error = error.code
            log.error("the prior %s could not be pulled: %s", pull.name, error)
        except Exception:
            pull.error = "internal"
            log.exception("the prior %s could not be pulled", pull.name)
        finally:
            pull.over.set()
