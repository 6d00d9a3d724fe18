"""`pellucid serve`, with steps that take a known time and are all told of, for tests that must hit a running job.

Run as a program it is the server; `load` is what its worker process loads priors with.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from torch import Tensor

from restore.prior.protocol import Denoiser
from restore.prior.registry import load_prior
from restore.prior.tiled import TiledDenoiser

#: Seconds that a step takes at least.
PACE = 0.01
#: Milliseconds after which clients that lost their events are asked to come back; the server's own are 2000.
RETRY_MS = 20


class Paced:
    """A denoiser that takes its time."""

    def __init__(self, denoiser: Denoiser) -> None:
        self._denoiser = denoiser

    def __getattr__(self, name: str) -> Any:
        return getattr(self._denoiser, name)

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        time.sleep(PACE)
        return self._denoiser(x, sigma)


def load(name: str | None = None, *, runtime: str = "auto", device: str = "auto") -> TiledDenoiser:
    """As `restore.prior.load_prior`, in a worker that tells of every step."""
    from service.worker import worker

    worker.PROGRESS_SECONDS = 0.0
    loaded = load_prior(name, runtime=runtime, device=device)
    assert isinstance(loaded, TiledDenoiser)
    loaded.denoiser = Paced(loaded.denoiser)
    return loaded


def main() -> None:
    """The command line of a server whose worker loads priors from here."""
    from service import attempt
    from service.cli.main import main as program
    from service.engine.local import LocalEngine
    from service.http import events

    attempt.PROGRESS_SECONDS = 0.0
    events.RETRY_MS = RETRY_MS
    defaults = LocalEngine.__init__.__kwdefaults__
    assert defaults is not None and "loader" in defaults
    defaults["loader"] = f"{Path(__file__).resolve()}:load"
    program()


if __name__ == "__main__":
    main()
