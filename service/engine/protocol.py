"""What the application asks of an engine: run a ticket, tell what happens, stop when told.

The application owns jobs, leases and results whatever the engine. A ticket carries ids, blob references and parameters,
never pixels; the worker reads inputs from the blob store and writes outputs to it; what it reports is JSON-ready, so
that it can cross a process or a cluster without pickle.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol

EventType = Literal["started", "progress", "preview", "warning", "succeeded", "failed", "canceled", "interrupted"]


@dataclass(frozen=True)
class Ticket:
    """One attempt at one job; see `service.jobs.model.NewJob` for the fields of the same name."""

    job_id: str
    fence: int
    attempt: int
    task: str
    parameters: dict[str, Any]
    inputs: dict[str, str]
    prior: str | None = None
    priority: str = "interactive"
    output: dict[str, Any] = field(default_factory=dict)
    previews: bool = False
    request_id: str = ""

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


@dataclass(frozen=True)
class WorkerEvent:
    """What a worker reports about a ticket. The last one is succeeded, failed, canceled or interrupted.

    data by type:
        started: {"device"}
        progress: {"step", "steps", "sigma", "fraction"}, of all the work, tiles of the call in hand included
        preview: {"media_type", "b64", "step", "steps"}
        warning: {"code", "message"}
        succeeded: the fields of `service.jobs.store.Outcome`
        failed: {"code", "message"}, a `service.problems.Code`
        canceled: {}
        interrupted: {"reason": "crash" | "hang" | "device" | "stopped" | "lost" | "busy", "blame": bool}: the worker is
            gone ("lost": with its machine, as far as one can tell), was told to stop, or takes no more; the job may be
            tried again, and with blame this attempt counts as one that killed its worker.
    """

    type: EventType
    data: dict[str, Any]


@dataclass(frozen=True)
class DeviceStatus:
    """One worker.

    Attributes:
        device: "cpu", "cuda:0", ...
        state: "starting", "ready", "restarting", or "broken" (the crash-loop breaker is open).
        running: tickets it works on.
        restarts: since the server's start.
        detail: public words on the state.
    """

    device: str
    state: Literal["starting", "ready", "restarting", "broken"]
    running: int
    restarts: int
    detail: str = ""


class Engine(Protocol):
    """Runs tickets. All methods belong to one event loop."""

    async def start(self) -> None:
        """Begin starting the workers; returns before they are ready."""
        ...

    def run(self, ticket: Ticket) -> AsyncIterator[WorkerEvent]:
        """Work on a ticket, telling what happens. Closing the iterator early cancels the work within one step."""
        ...

    async def cancel(self, job_id: str, fence: int) -> None:
        """Stop a ticket within one denoiser call; its iterator ends with canceled."""
        ...

    def free_slots(self) -> int:
        """How many more tickets would be started at once."""
        ...

    def status(self) -> Sequence[DeviceStatus]: ...

    async def stop(self, seconds: float) -> None:
        """Let what runs finish for so long, interrupt the rest ("stopped", without blame) and end the workers."""
        ...
