"""Priors being fetched and measured for an operator, one after another, beside the requests."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from restore.errors import RestoreError

log = logging.getLogger("pellucid.models")


class _StoppedError(Exception):
    """The pull is no longer wanted."""


class _UnmeasuredError(Exception):
    """The prior was fetched, but could not be measured.

    Args:
        code: stable.
        message: for the log.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass
class Pull:
    """One of them.

    Attributes:
        name: of the prior.
        wanted: whether it is measured as well.
        received: bytes of the present file.
        measured: how much of the measuring is done, 0 to 1; None while it is fetched.
        error: code of what ended it; "" while it goes on.
        measuring: the process that measures it.
        stop: set when it is no longer wanted.
        over: set when it has ended.
    """

    name: str
    wanted: bool = True
    received: int = 0
    measured: float | None = None
    error: str = ""
    measuring: subprocess.Popen[str] | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)


class Pulls:
    """Fetches priors in a thread. What a shutdown interrupts goes on at the next pull of the same prior."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="pull")
        self._pulls: dict[str, Pull] = {}
        self._lock = threading.Lock()

    def start(self, name: str, measure: bool = True) -> Pull:
        """Begin to fetch a prior, unless that is under way or done, and to measure it, unless it was.

        Args:
            name: of the prior.
            measure: test it and measure its error at each noise level.
        """
        with self._lock:
            known = self._pulls.get(name)
            if known is None or known.error or known.over.is_set():
                known = self._pulls[name] = Pull(name, measure)
                self._pool.submit(self._run, known)
            return known

    def all(self) -> dict[str, Pull]:
        """By prior: the pulls that are under way, and those that failed.

        Look here before looking which priors are installed: a pull is gone once its prior is, and is measured.
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
        _halt(pull)
        pull.over.wait()
        with self._lock:
            self._pulls.pop(name, None)
        return under_way

    def close(self) -> None:
        """End all pulls."""
        with self._lock:
            pulls = list(self._pulls.values())
        for pull in pulls:
            _halt(pull)
        self._pool.shutdown(wait=True)

    def _run(self, pull: Pull) -> None:
        from models.errors import DownloadError
        from models.registry import installed, prior_facts
        from models.registry.pull import pull as fetch

        def told(progress: Any) -> None:
            pull.received = progress.bytes
            if pull.stop.is_set():
                raise _StoppedError

        def waiting() -> None:
            raise DownloadError(f"another process is pulling {pull.name}")

        try:
            if not pull.stop.is_set():
                if pull.name in installed():
                    facts = prior_facts(pull.name)
                else:
                    facts = fetch(pull.name, on_progress=told, on_wait=waiting)
                    log.info("the prior %s was pulled, %s", facts.name, facts.digest)
                if pull.wanted and not facts.measured:
                    _measure(pull)
            with self._lock:
                self._pulls.pop(pull.name, None)
        except _StoppedError:
            pull.error = "stopped"
        except _UnmeasuredError as error:
            pull.error = error.code
            log.error("the prior %s could not be measured: %s", pull.name, error)
        except RestoreError as error:
            pull.error = error.code
            log.error("the prior %s could not be pulled: %s", pull.name, error)
        except Exception:
            pull.error = "internal"
            log.exception("the prior %s could not be pulled", pull.name)
        finally:
            pull.over.set()


def _halt(pull: Pull) -> None:
    """Make a pull end soon."""
    pull.stop.set()
    if pull.measuring is not None:
        pull.measuring.terminate()


def _measure(pull: Pull) -> None:
    """Test and measure what was fetched, in a process of its own.

    Raises:
        _StoppedError, _UnmeasuredError: it was not.
    """
    pull.measured = 0.0
    command = [sys.executable, "-m", "service.measuring", pull.name]
    last: dict[str, Any] = {}
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        pull.measuring = process
        if pull.stop.is_set():  # it came before there was a process to end
            process.terminate()
        assert process.stdout is not None
        for line in process.stdout:
            last = json.loads(line)
            if last.get("total"):
                pull.measured = last["done"] / last["total"]
    pull.measuring = None
    if pull.stop.is_set():
        raise _StoppedError
    if process.returncode != 0:
        raise _UnmeasuredError(last.get("error", "internal"), last.get("message", "the process ended"))
    log.info("the prior %s was measured", pull.name)
