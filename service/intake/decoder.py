"""The process that decodes strangers' pictures on trial. It holds nothing of value and may be lost at any moment.

Requests come on standard input, answers go to standard output, each a length and that many bytes: a JSON header, and
after a request's the file itself. Nothing is pickled. Started by `service.intake.sandbox` with an empty environment.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import struct
import sys
import warnings
from typing import Any, BinaryIO

HEADER = struct.Struct(">II")
"""Length of the JSON, length of the file."""
ANSWER = struct.Struct(">I")


def main() -> None:
    """Answer requests until standard input ends."""
    # A service manager's SIGTERM reaches every process of the service: when to end is the server's business.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not end up among the answers
    warnings.simplefilter("ignore")
    from service.intake import trial

    _send(answers, {"ready": True})
    while head := requests.read(HEADER.size):
        header, length = HEADER.unpack(head)
        asked = json.loads(requests.read(header))
        data = requests.read(length)
        if len(data) < length:
            return
        _limit(asked["seconds"], asked["memory"])
        _send(answers, trial.examine(data, asked["limits"], asked["name"]))
        del data


def _send(answers: BinaryIO, answer: dict[str, Any]) -> None:
    body = json.dumps(answer).encode()
    answers.write(ANSWER.pack(len(body)) + body)
    answers.flush()


def _limit(seconds: float, memory: int) -> None:
    """Bound the next request: its processor time, the address space beyond what is used now, files and sockets."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    used = int(usage.ru_utime + usage.ru_stime)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (used + int(seconds) + 1, hard))
    if sys.platform == "linux":
        with open("/proc/self/statm") as file:
            pages = int(file.read().split()[0])
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + memory, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))


if __name__ == "__main__":
    main()
