"""Restore one file in a process of its own and print what it took, as JSON: seconds and peak memory.

Used by speed.py and memory.py: a process's peak memory can only rise, so each size needs its own.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import common

from restore import Restorer


def main() -> None:
    """Restore, save, report."""
    parser = common.arguments(__doc__ or "")
    parser.add_argument("--task", default="denoise")
    parser.add_argument("--parameters", type=json.loads, default={}, help="JSON object of the task's parameters")
    parser.add_argument("--file", action="store_true", help="restore from file to file, streamed where possible")
    parser.add_argument("input")
    parser.add_argument("output")
    options = parser.parse_args()
    restorer = Restorer(common.open_prior(options))
    loaded = peak_gib()
    start = time.perf_counter()
    if options.file:
        report = restorer.restore_file(options.input, options.output, options.task, **options.parameters)
        restored = time.perf_counter()
    else:
        result = restorer.restore(options.input, options.task, **options.parameters)
        restored = time.perf_counter()
        result.save(options.output)
        report = result.report
    saved = time.perf_counter()
    found = {
        "nfe": report["nfe"],
        "streamed": report.get("streamed", False),
        "restore_seconds": restored - start,
        "save_seconds": saved - restored,
        "loaded_gib": loaded,
        "peak_gib": peak_gib(),
    }
    json.dump(found, sys.stdout)


def peak_gib() -> float:
    """Largest resident set of this program so far; `getrusage` would count what started it as well."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 2**20
    raise SystemExit("the kernel does not tell the peak of the resident set")


if __name__ == "__main__":
    main()
