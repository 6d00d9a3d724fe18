"""Measures one prior in a process of its own, for a server: python -m service.measuring NAME

Every call of the network is told as a line of JSON on standard output, {"done": 3, "total": 36}; a failure as
{"error": CODE, "message": ...}. It runs on the CPU and gives way to other work: the devices are the workers'.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from restore.errors import RestoreError


def main() -> int:
    """The exit status: 0 when it was measured."""
    from models.registry.measuring import measure

    sink = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)  # what a library prints must not end up between the lines

    def say(**words: Any) -> None:
        sink.write(json.dumps(words) + "\n")

    if hasattr(os, "nice"):
        os.nice(10)
    try:
        measure(sys.argv[1], device="cpu", on_call=lambda done, total: say(done=done, total=total))
    except RestoreError as error:
        say(error=error.code, message=str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
