"""Which runtime is the fastest for a worker's default prior: found out once a machine, before the worker is ready."""

from __future__ import annotations

import json
import logging
import subprocess
import sys

from models.registry import ONNX, choose_device, open_prior
from models.runtime.measuring import find, remembered
from restore.errors import RestoreError, RuntimeUnavailableError
from service.worker.config import WorkerConfig

logger = logging.getLogger(__name__)

#: Longest that a start waits for it: on a machine that is so busy, what was measured would say little.
LIMIT_SECONDS = 180.0


def find_runtime(config: WorkerConfig) -> None:
    """Measure it where nobody knows yet.

    When it is not found out within `LIMIT_SECONDS`, the log says why, "auto" stays what it is, and the server's next
    start tries again.
    """
    if config.runtime != "auto" or config.loader:
        return
    try:
        loaded = open_prior(config.prior)
        if loaded.family == ONNX:  # is run as it is
            return
        known = remembered(loaded.network, choose_device(config.device))
        found = _measured(config) if known is None else known["chosen"]
    except RestoreError as error:
        logger.warning(
            "which runtime is the fastest here was not found out: %s", error, extra={"device": config.device}
        )
    else:
        logger.info("the fastest runtime here is %s", found, extra={"device": config.device})


def _measured(config: WorkerConfig) -> str:
    """By a process of its own: what measuring takes of memory is given back.

    Raises:
        RuntimeUnavailableError: with what it said, or that it took too long.
    """
    command = [sys.executable, "-m", "service.worker.benching", json.dumps(config.to_json())]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=LIMIT_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise RuntimeUnavailableError(f"it took more than {LIMIT_SECONDS:.0f} seconds") from error
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise RuntimeUnavailableError(said[-1])
    return done.stdout.strip()


def main() -> None:
    """The process: prints the runtime, or ends with what is wrong."""
    import torch

    from service.worker.process import die_with_parent

    die_with_parent()
    config = WorkerConfig.from_json(json.loads(sys.argv[1]))
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    try:
        loaded = open_prior(config.prior)
        found = find(loaded.network, loaded.info, choose_device(config.device))
    except RestoreError as error:
        sys.exit(str(error))
    sys.exit("no runtime answers as PyTorch does") if found is None else print(found)


if __name__ == "__main__":
    main()
