"""What the routes share: the parts of the running application, and who is calling."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

import anyio
from starlette.requests import Request

from service.core import Service
from service.http.draining import Drain
from service.http.pictures import Reader
from service.http.pulls import Pulls
from service.http.waiting import Waiters
from service.intake.protocol import Intake
from service.problems import Code, Problem
from service.settings import Settings
from service.webhooks.admission import WebhookTargets


@dataclass
class Parts:
    """The running application.

    Attributes:
        settings, service, intake: what it was built from.
        drain, waiters, reader: see their classes.
        pulls: priors being fetched.
        webhooks: where they may be sent.
        arriving: submissions that have been received and are not queued yet.
        intake_slots: requests whose pictures may be in memory at the same time; the others wait on disk.
    """

    settings: Settings
    service: Service
    intake: Intake
    drain: Drain
    waiters: Waiters
    reader: Reader
    intake_slots: anyio.Semaphore
    webhooks: WebhookTargets
    pulls: Pulls = field(default_factory=Pulls)
    arriving: int = 0


def parts(request: Request) -> Parts:
    """Those of the application that serves a request."""
    return cast(Parts, request.app.state.parts)


def owner(request: Request) -> str:
    """Id of the API key of the caller; "" when there is no authentication."""
    return str(request.scope.get("state", {}).get("owner", ""))


def check_open(given: Parts) -> None:
    """Refuse when even reading is over.

    Raises:
        Problem: DRAINING.
    """
    if given.drain.over.is_set():
        raise Problem(Code.DRAINING, "the server is shutting down; ask again in a moment", retry_after=5.0)


def check_takes_work(given: Parts) -> None:
    """Refuse new work that could not be started.

    Raises:
        Problem: DRAINING, STARTING.
    """
    if given.drain.begun.is_set() or given.service.draining:
        raise Problem(Code.DRAINING, "the server is shutting down; ask again in a moment", retry_after=5.0)
    status = given.service.engine.status()
    if not any(device.state in ("ready", "restarting") for device in status):
        starting = any(device.state == "starting" for device in status) or not status
        detail = "the workers are starting" if starting else "no worker can be started; the operator must look into it"
        raise Problem(Code.STARTING, f"{detail}; ask again in a moment", retry_after=2.0 if starting else 30.0)
