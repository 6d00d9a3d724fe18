"""Whether the server lives and can take work."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from service.schemas.base import Answered


class Live(Answered):
    """The process answers."""

    status: Literal["live"] = "live"
    """Nothing else is said."""


class Device(Answered):
    """One worker."""

    device: str = Field(examples=["cuda:0"])
    """Where it computes."""
    state: Literal["starting", "ready", "restarting", "broken"]
    """Whether it can work."""
    running: int = Field(ge=0)
    """Jobs it works on."""
    restarts: int = Field(ge=0)
    """Since the server was started."""
    detail: str = ""
    """On the state."""


class Ready(Answered):
    """Whether work is taken."""

    status: Literal["ready", "starting", "draining", "broken"]
    """Ready: at least one worker is."""
    devices: list[Device] | None = None
    """The workers, with ?verbose."""
