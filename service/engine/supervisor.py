"""Keeps the worker process of one device alive: starts it, listens, replaces it when it dies or hangs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from service.engine import frames
from service.engine.protocol import DeviceStatus, EventType, Ticket, WorkerEvent
from service.worker.config import WorkerConfig

logger = logging.getLogger(__name__)

#: Seconds before a dead worker is started again: doubled with every death that followed no finished ticket.
BACKOFF, LONGEST_BACKOFF = 0.5, 30.0
#: So many such deaths in a row open the breaker: the device takes no tickets, and one start is tried now and then.
BREAKER_DEATHS, BREAKER_SECONDS = 5, 60.0
#: A start may include loading, exporting or compiling a network.
START_SECONDS = 900.0
#: How long a worker that was told to stop may take.
STOP_SECONDS = 5.0
#: glibc keeps a heap for each of a worker's dozen threads otherwise, and what one frees is no use to the next: its
#: memory creeps up for thousands of jobs. Whoever sets the variable is obeyed.
ALLOCATOR = {"MALLOC_ARENA_MAX": "2"}
#: Longest stretch of listening that counts as such: whoever stands still for longer has not heard a worker's silence.
LISTEN_SECONDS = 1.0

Key = tuple[str, int]


class Patience:
    """How long a worker may be silent while this process listens. When the server itself stands still (a paused
    container, a machine that is drowning), its workers get their whole time to speak afterwards.

    Args:
        seconds: of silence.
    """

    def __init__(self, seconds: float) -> None:
        self._left = seconds

    async def hear(self, stream: asyncio.StreamReader) -> dict[str, Any] | None:
        """The next message; None when the worker has gone.

        Raises:
            TimeoutError: it was silent for too long.
            FrameError: not a message.
        """
        reading = asyncio.ensure_future(frames.read(stream))
        try:
            while True:
                begun, stretch = time.monotonic(), min(LISTEN_SECONDS, self._left)
                await asyncio.wait({reading}, timeout=stretch)
                if reading.done():
                    return reading.result()
                self._left -= min(stretch, time.monotonic() - begun)
                if self._left <= 0.0:
                    raise TimeoutError
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


class Supervisor:
    """One device and its worker process, on one event loop.

    Args:
        config: for the worker.
        hang_seconds: a worker whose step loop is silent for so long is killed. It speaks at least every second.
        on_report: given what the worker counted (`service.observability.metrics.Metrics.absorb`).
        on_change: called when the state or the number of running tickets has changed.
    """

    def __init__(
        self,
        config: WorkerConfig,
        hang_seconds: float,
        on_report: Callable[[dict[str, Any]], None],
        on_change: Callable[[], None],
    ) -> None:
        self.config, self._hang_seconds = config, hang_seconds
        self._on_report, self._on_change = on_report, on_change
        self.state: str = "starting"
        self.detail = "starting"
        self.restarts = 0
        self.tickets: dict[Key, asyncio.Queue[WorkerEvent]] = {}
        self._process: asyncio.subprocess.Process | None = None
        self._suspects: set[Key] = set()
        self._deaths = 0
        self._stopping = False
        self._task: asyncio.Task[None] | None = None

    @property
    def status(self) -> DeviceStatus:
        return DeviceStatus(self.config.device, self.state, len(self.tickets), self.restarts, self.detail)  # type: ignore[arg-type]

    @property
    def free(self) -> int:
        """Tickets that it would take now."""
        return self.config.jobs_at_once - len(self.tickets) if self.state == "ready" else 0

    @property
    def pid(self) -> int | None:
        """Of the worker process that lives now."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    def start(self) -> None:
        self._task = asyncio.create_task(self._keep_alive(), name=f"worker {self.config.device}")

    def submit(self, ticket: Ticket) -> asyncio.Queue[WorkerEvent]:
        """Give a ready worker a ticket; the queue receives its events."""
        events: asyncio.Queue[WorkerEvent] = asyncio.Queue()
        self.tickets[ticket.job_id, ticket.fence] = events
        self._send({"do": "run", "ticket": ticket.to_json()})
        self._on_change()
        return events

    def cancel(self, key: Key) -> None:
        """Ask the worker to stop a ticket; one it does not know has ended already."""
        if key in self.tickets:
            self._send({"do": "cancel", "job": key[0], "fence": key[1]})

    def forget(self, key: Key) -> None:
        """Nobody listens to a ticket any more."""
        if key in self.tickets:
            self.cancel(key)
            del self.tickets[key]
            self._on_change()

    async def stop(self) -> None:
        """End the worker; tickets that still run are interrupted, without blame."""
        self._stopping = True
        self._interrupt("stopped", set())
        self._send({"do": "stop"})
        if self._task is not None:
            await asyncio.wait([self._task], timeout=STOP_SECONDS)
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _keep_alive(self) -> None:
        while not self._stopping:
            reason = await self._one_life()
            if self._stopping:
                return
            self._deaths += 1
            self.restarts += 1
            broken = self._deaths >= BREAKER_DEATHS
            pause = BREAKER_SECONDS if broken else min(BACKOFF * 2 ** (self._deaths - 1), LONGEST_BACKOFF)
            logger.error("worker lost", extra={"device": self.config.device, "reason": reason, "pause": pause})
            self._be("broken" if broken else "restarting", f"{reason}; started again after {pause:g} s")
            await asyncio.sleep(pause)

    def told(self) -> WorkerConfig:
        """What the next process is told: one that takes the place of another measures nothing, for jobs wait."""
        return replace(self.config, bench=self.config.bench and self.restarts == 0)

    async def _one_life(self) -> str:
        """Start the process and listen until it has ended; says in public words why."""
        # The package may lie beside the current folder only, and -m must find it.
        path = os.pathsep.join(p for p in (str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")) if p)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "service.worker", stdin=-1, stdout=-1, limit=2 * frames.MAX_BYTES,
            env={**ALLOCATOR, **os.environ, "PYTHONPATH": path},
        )  # fmt: skip
        self._process, self._suspects = process, set()
        try:
            self._send({"do": "start", "config": self.told().to_json()})
            reason, kind = await self._listen(process)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            code = await process.wait()
            if process.stdin is not None:
                process.stdin.close()
        suspects, self._suspects = self._suspects, set()
        self._interrupt(kind, suspects)
        return reason if kind != "crash" else f"{reason} (exit status {code})"

    async def _listen(self, process: asyncio.subprocess.Process) -> tuple[str, str]:
        """Handle messages until the worker dies or hangs. Returns public words and the reason of `interrupted`."""
        assert process.stdout is not None
        patience = Patience(START_SECONDS)
        while True:
            try:
                message = await patience.hear(process.stdout)
            except TimeoutError:
                return "the worker hung", "hang"
            except frames.FrameError as error:
                logger.error("worker sent nonsense", extra={"device": self.config.device, "error": str(error)})
                return "the worker sent nonsense", "crash"
            if message is None:
                return "the worker died", "crash"
            match message["say"]:
                case "ready":
                    self._be("ready", "ready")
                    patience = Patience(self._hang_seconds)
                case "beat":
                    self._suspects = {(job, fence) for job, fence in message["jobs"]}
                    if self.state == "ready":
                        patience = Patience(self._hang_seconds)
                case "event":
                    event = WorkerEvent(message["type"], message["data"])
                    self._deliver((message["job"], message["fence"]), event)
                case "report":
                    self._on_report(message["report"])
                case "unusable":
                    # Told before it exits; it may know better than we do which jobs it worked on.
                    if "jobs" in message:
                        self._suspects = {(job, fence) for job, fence in message["jobs"]}
                    return message["detail"], message["reason"]

    def _deliver(self, key: Key, event: WorkerEvent) -> None:
        events = self.tickets.get(key)
        if event.type in ENDS:
            self._suspects.discard(key)
            if event.type == "succeeded":
                self._deaths = 0
            self.tickets.pop(key, None)
            self._on_change()
        if events is not None:
            events.put_nowait(event)

    def _interrupt(self, reason: str, suspects: set[Key]) -> None:
        for key in list(self.tickets):
            self._deliver(key, WorkerEvent("interrupted", {"reason": reason, "blame": key in suspects}))

    def _be(self, state: str, detail: str) -> None:
        self.state, self.detail = state, detail
        logger.info("worker is %s", state, extra={"device": self.config.device, "detail": detail})
        self._on_change()

    def _send(self, message: dict[str, Any]) -> None:
        process = self._process
        if process is not None and process.stdin is not None and not process.stdin.is_closing():
            process.stdin.write(frames.pack(message))


ENDS: frozenset[EventType] = frozenset({"succeeded", "failed", "canceled", "interrupted"})
