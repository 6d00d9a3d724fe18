"""Which runtime is the fastest for a worker's default prior: found out once a machine, before the worker is ready."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys

from service.worker.config import WorkerConfig

logger = logging.getLogger(__name__)

#: Longest that a start waits for it: on a machine that is so busy, what was measured would say little.
LIMIT_SECONDS = 180.0


def find_runtime(config: WorkerConfig) -> None:
    """Measure it where nobody knows yet, in a process of its own: what measuring takes of memory is given back.

    When it is not found out within `LIMIT_SECONDS`, the log says why, "auto" stays what it is, and the next start tries
    again.
    """
    if config.runtime != "auto" or config.loader:
        return
    threads = {} if config.threads is None else {"OMP_NUM_THREADS": str(config.threads)}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "service.worker.benching", json.dumps(config.to_json())],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=LIMIT_SECONDS,
            env={**os.environ, **threads},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        why = f"it took more than {LIMIT_SECONDS:.0f} seconds"
    else:
        if done.returncode == 0:
            logger.info("the fastest runtime here is %s", done.stdout.strip(), extra={"device": config.device})
            return
        why = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
    logger.warning("which runtime is the fastest here was not found out: %s", why, extra={"device": config.device})


def main() -> None:
    """The process: prints the runtime, or ends with what is wrong."""
    from service.worker.process import die_with_parent

    die_with_parent()
    from models.registry import ONNX, choose_device, open_prior
    from models.runtime.measuring import find
    from restore.errors import RestoreError

    config = WorkerConfig.from_json(json.loads(sys.argv[1]))
    try:
        loaded = open_prior(config.prior)
        if loaded.family == ONNX:
            sys.exit(f"{loaded.info.name} is an ONNX file, which is run as it is")
        found = find(loaded.network, loaded.info, choose_device(config.device))
    except RestoreError as error:
        sys.exit(str(error))
    sys.exit("no runtime answers as PyTorch does") if found is None else print(found)


if __name__ == "__main__":
    main()
