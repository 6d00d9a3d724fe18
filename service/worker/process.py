"""The worker's process: messages come from standard input and go to what was standard output."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
import threading
from typing import Any

from service.engine import frames
from service.engine.protocol import Ticket
from service.worker.config import WorkerConfig

logger = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Run until told to stop, until the server is gone, or until the device is lost."""
    die_with_parent()
    # A terminal's Ctrl-C and a service manager's SIGTERM reach the whole group: when to end is the server's business.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    source, sink = os.dup(0), os.dup(1)
    # What a library prints must not end up between the messages.
    os.dup2(2, 1)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    first = frames.read_blocking(source)
    if first is None:
        return
    code = _work(WorkerConfig.from_json(first["config"]), source, sink)
    logging.shutdown()
    os._exit(code)  # without waiting for what still runs in the pools


def _work(config: WorkerConfig, source: int, sink: int) -> int:
    """The exit status."""
    from service.observability.logs import configure

    configure(config.log_level, "text" if config.log_format == "text" else "json")
    import torch

    from service.blobs import FsspecBlobStore
    from service.worker.benching import find_runtime
    from service.worker.device import DeviceLostError
    from service.worker.worker import DeviceWorker

    if config.threads is not None:
        torch.set_num_threads(config.threads)

    def say(message: dict[str, Any]) -> None:
        try:
            frames.write_blocking(sink, message)
        except OSError:  # the server is gone
            os._exit(0)

    try:
        if config.bench:
            find_runtime(config)
        worker = DeviceWorker(config, FsspecBlobStore(config.blob_url), say)
        threading.Thread(target=_listen, args=(source, worker), daemon=True, name="listen").start()
        worker.warm_up()
        worker.serve()
    except DeviceLostError as error:
        logger.exception("the device is lost", extra={"device": config.device})
        say({"say": "unusable", "reason": error.reason, "detail": "the device failed",
             "jobs": [list(job.key) for job in error.jobs]})  # fmt: skip
        return 1
    except Exception as error:
        logger.exception("the worker cannot go on", extra={"device": config.device})
        detail = f"the device or the prior cannot be used: {type(error).__name__}"
        # Without jobs: those of the last beat are suspected, or a job that does this could do it for ever.
        say({"say": "unusable", "reason": "device", "detail": detail})
        return 1
    return 0


def _listen(source: int, worker: Any) -> None:
    """Pass on what the server says; when it is gone, so is this process."""
    while (message := frames.read_blocking(source)) is not None:
        match message["do"]:
            case "run":
                worker.submit(Ticket(**message["ticket"]))
            case "cancel":
                worker.cancel((message["job"], message["fence"]))
            case "stop":
                worker.stop()
    os._exit(0)


def die_with_parent() -> None:
    """Where the kernel offers it, be killed when the server dies, even while a call into a library does not return."""
    if sys.platform != "linux":
        return
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the call
        os._exit(0)
