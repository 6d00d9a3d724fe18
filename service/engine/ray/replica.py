"""What runs in the cluster: one replica keeps the worker process of one device, as the local engine does on a machine.

The worker is a process of its own here too. A device that was lost, a network that hangs and a job that crashes the
worker are dealt with beside it, by the same `Supervisor`, in half a second and with the job that did it known; Ray
replaces the replica when that does not help, and when the machine is gone.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from typing import Any

from service.engine.protocol import Ticket, WorkerEvent
from service.engine.supervisor import ENDS, Supervisor
from service.worker.config import WorkerConfig

#: Of what the worker counted, kept until an event carries it to a server.
MOST_REPORTS = 256


class Replica:
    """The class of the deployment. Ray calls its methods in one event loop.

    Args:
        config: JSON of a `WorkerConfig`.
        hang_seconds: see `Supervisor`.
    """

    async def __init__(self, config: str, hang_seconds: float) -> None:  # type: ignore[misc] # Ray awaits it
        self._name = secrets.token_hex(4)
        self._reports: list[dict[str, Any]] = []
        self._changed = asyncio.Event()
        self._worker = Supervisor(
            WorkerConfig.from_json(json.loads(config)), hang_seconds, self._count, self._changed.set
        )
        self._worker.start()
        if not await self._usable():
            raise RuntimeError(f"the worker cannot be started: {self._worker.detail}")

    async def run(self, ticket: str) -> AsyncIterator[str]:
        """Work on a ticket.

        Args:
            ticket: JSON of a `Ticket`.

        Yields:
            JSON of events: {"type", "data"} as in `WorkerEvent`, and what a server likes to know of this replica:
            {"replica", "restarts", "reports"}.
        """
        given = Ticket(**json.loads(ticket))
        if not await self._usable():
            yield self._told(WorkerEvent("interrupted", {"reason": "device", "blame": False}))
            return
        events = self._worker.submit(given)
        try:
            while True:
                event = await events.get()
                yield self._told(event)
                if event.type in ENDS:
                    return
        finally:  # Ray cancels this call when the server hangs up
            self._worker.forget((given.job_id, given.fence))

    def check_health(self) -> None:
        """Asked by Ray every few seconds; a replica that raises is replaced.

        Raises:
            RuntimeError: the worker does not come up again.
        """
        if self._worker.state == "broken":
            raise RuntimeError(f"the worker does not come up: {self._worker.detail}")

    async def _usable(self) -> bool:
        """Wait for a worker that is being started; False when it does not come up."""
        while self._worker.state not in ("ready", "broken"):
            self._changed.clear()
            await self._changed.wait()
        return self._worker.state == "ready"

    def _count(self, report: dict[str, Any]) -> None:
        self._reports.append(report)
        del self._reports[:-MOST_REPORTS]

    def _told(self, event: WorkerEvent) -> str:
        reports, self._reports = self._reports, []
        return json.dumps(
            {
                "type": event.type,
                "data": event.data,
                "replica": self._name,
                "restarts": self._worker.restarts,
                "reports": reports,
            },
            separators=(",", ":"),
        )
