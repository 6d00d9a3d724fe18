"""Restore one file in a process of its own and print what it took, as JSON: seconds and peak memory.

Used by speed.py: a process's peak memory can only rise, so each size needs its own.
"""

from __future__ import annotations

import json
import resource
import sys
import time

import common

from restore import Restorer


def main() -> None:
    """Restore, save, report."""
    parser = common.arguments(__doc__ or "")
    parser.add_argument("--task", default="denoise")
    parser.add_argument("--parameters", type=json.loads, default={}, help="JSON object of the task's parameters")
    parser.add_argument("input")
    parser.add_argument("output")
    options = parser.parse_args()
    restorer = Restorer(common.open_prior(options))
    loaded = peak_gib()
    start = time.perf_counter()
    result = restorer.restore(options.input, options.task, **options.parameters)
    restored = time.perf_counter()
    result.save(options.output)
    saved = time.perf_counter()
    found = {
        "nfe": result.report["nfe"],
        "restore_seconds": restored - start,
        "save_seconds": saved - restored,
        "loaded_gib": loaded,
        "peak_gib": peak_gib(),
    }
    json.dump(found, sys.stdout)


def peak_gib() -> float:
    """Largest resident set so far (Linux counts it in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()
