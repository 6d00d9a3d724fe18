"""One ticket on its way through a worker."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from restore.enlarging import Enlargement
from restore.prior.enlarger import Enlarging
from restore.prior.tiled import TiledCall, Tiling
from restore.sampling.protocol import DenoiserCall, Sampling
from restore.session import Restoration
from service.engine.protocol import Ticket
from service.worker.priors import Prior

Key = tuple[str, int]


@dataclass(eq=False)
class WorkerJob:
    """Everything a worker knows of a ticket. Owned by the step loop; a pool works on it while the loop does not.

    Attributes:
        ticket: what was asked.
        prior, restoration: once prepared, of a job whose denoiser calls are batched.
        enlargement: once prepared, of a job whose prior has a sampler of its own.
        tiling: how its calls are cut; smaller than the prior's after the device ran out of memory.
        sampling: the running sampler.
        enlarging: the enlargement at work.
        call, tiles: the denoiser call it waits for.
        next_tile: first tile of the call that was not handed out.
        canceled: it was asked to stop.
        ended: its last event was sent.
        seconds: by stage.
        warnings: of the worker's own.
        shown: the estimate of an enlargement that was previewed last.
        fallbacks: how the work ran otherwise than planned: "tile" -> "tile=256;reason=oom".
    """

    ticket: Ticket
    prior: Prior | None = None
    restoration: Restoration | None = None
    enlargement: Enlargement | None = None
    tiling: Tiling | None = None
    sampling: Sampling | None = None
    enlarging: Enlarging | None = None
    call: DenoiserCall | None = None
    tiles: TiledCall | None = None
    next_tile: int = 0
    canceled: bool = False
    ended: bool = False
    seconds: dict[str, float] = field(default_factory=dict)
    warnings: list[dict[str, str]] = field(default_factory=list)
    fallbacks: dict[str, str] = field(default_factory=dict)
    sampling_since: float = 0.0
    told_at: float = 0.0
    shown_at: float = 0.0
    shown: Tensor | None = None

    @property
    def key(self) -> Key:
        return self.ticket.job_id, self.ticket.fence

    @property
    def degraded(self) -> str:
        """The fallbacks as a list, such as "batch=2;reason=oom, tile=64;reason=oom"; empty without any."""
        return ", ".join(self.fallbacks.values())

    def fall_back(self, how: str) -> bool:
        """Note a fallback, in place of an earlier one of its kind; False when it was noted before."""
        kind = how.partition("=")[0]
        known = self.fallbacks.get(kind) == how
        self.fallbacks[kind] = how
        return not known

    def restart(self, tiling: Tiling) -> None:
        """Sample anew with other tiles: the result is then that of these tiles alone, and can be had again."""
        assert self.restoration is not None
        self.close()
        self.tiling, self.sampling = tiling, self.restoration.sampling()

    def close(self) -> None:
        """Let go of the sampler and what it holds."""
        for running in (self.sampling, self.enlarging):
            if running is not None:
                running.close()
        self.enlarging = None
        self.sampling, self.call, self.tiles, self.next_tile = None, None, None, 0

    def event(self, type: str, data: dict[str, Any]) -> dict[str, Any]:
        """A message to the engine."""
        return {"say": "event", "job": self.ticket.job_id, "fence": self.ticket.fence, "type": type, "data": data}
