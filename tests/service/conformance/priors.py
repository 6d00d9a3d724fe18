"""The priors of the conformance suite, under names that a request may carry: "KIND" or "KIND.NUMBER"."""

from __future__ import annotations

from typing import Any

from tests.service.worker import priors_for_tests

OPTIONS = {
    "slow": "slow:seconds={:.3f}",  # milliseconds of a denoiser call
    "oom": "oom:side={:.0f}",  # side of the largest tile that fits into memory
    "crash": "crash:from={:.0f}",  # the call that kills the worker
}


def load(name: str | None = None, *, runtime: str = "auto", device: str = "auto") -> Any:
    """See `service.worker.config.WorkerConfig.loader`."""
    kind, _, number = (name or "cheap").partition(".")
    if kind in OPTIONS:
        name = OPTIONS[kind].format(float(number) / 1000 if kind == "slow" else float(number))
    return priors_for_tests.load(name, runtime=runtime, device=device)
