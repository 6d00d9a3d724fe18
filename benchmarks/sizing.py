"""What a megapixel costs: core-seconds and peak memory of each task, on one core, for sizing a server.

Core-seconds are the processor time of the process while it decodes, restores and encodes, so that what else runs on the
machine matters little; on a core of its own they are about the seconds that it takes. Each restoration has a process of
its own. Peak memory is the largest resident set.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import common
import numpy as np
import torch
from PIL import Image

#: What each task is asked for. Super-resolution is counted by the pixels of its result.
ASKED: dict[str, dict[str, Any]] = {
    "denoise": {"noise": 15.0},
    "super-resolve": {"scale": 4, "noise": 0.0},
    "deblur": {"kernel": (9.0, 30.0), "noise": 2.55},
    "inpaint": {"mask": True},
    "colorize": {},
    "dejpeg": {"quality": 30},
    "low-light-enhance": {},
}
SMALL, LARGE = 0.25, 2.0
#: At the larger size only memory is of interest, which does not depend on the number of calls.
FEW_STEPS = 1


def main() -> None:
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=common.ROOT / "benchmarks" / "results")
    parser.add_argument("--tasks", nargs="+", default=tuple(ASKED), choices=tuple(ASKED))
    parser.add_argument("--one", metavar="TASK", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(options.one)))
        return
    from models.registry import load_denoiser

    facts = common.circumstances(load_denoiser(device="cpu"))
    facts["machine"]["threads"] = 1
    table = common.Table(
        f"One core: a result of {SMALL} megapixels, and the memory that {LARGE} take",
        ["task", "calls", "core-seconds a megapixel", f"GiB at {SMALL} MP", f"GiB at {LARGE} MP"],
    )
    ledger = common.Ledger(options.out / "sizing.partial.jsonl", {key: facts[key] for key in ("prior", "packages")})
    for task in options.tasks:
        if ledger.get(task) is None:
            ledger.put(apart(task), task)
        found = ledger.get(task)
        print(task, found, flush=True)
        table.add(task, found["calls"], found["core_seconds"] / SMALL, found["gib"], found["large_gib"])
    notes = [
        "One restoration after one of a small picture that warms up, PyTorch on one thread.",
        f"Load average of the machine at the end, over 15 minutes: {os.getloadavg()[2]:.0f}. What else runs does not "
        "count as core-seconds, but takes from the caches and so makes them somewhat more.",
        "Before a restoration, with the prior loaded, the process holds "
        f"{ledger.get(options.tasks[0])['loaded_gib']:.2f} GiB.",
    ]
    common.report(options.out, "sizing", "What a megapixel costs", [table], notes, facts)
    ledger.close()


def apart(task: str) -> dict[str, Any]:
    """A task's restorations in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--one", task],
        capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{task} failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def one(task: str) -> dict[str, Any]:
    """Restore a small file and a large one, here."""
    from restore import Restorer

    torch.set_num_threads(1)
    restorer = Restorer.from_pretrained(device="cpu")
    loaded = peak_gib()
    restorer.restore(photograph(256, 256, task), "denoise", noise=15.0)
    seconds, calls = restore(restorer, task, SMALL, {})
    small = peak_gib()
    restore(restorer, task, LARGE, {"steps": FEW_STEPS})
    return {"calls": calls, "core_seconds": seconds, "loaded_gib": loaded, "gib": small, "large_gib": peak_gib()}


def restore(restorer: Any, task: str, megapixels: float, more: dict[str, Any]) -> tuple[float, int]:
    """From file to file; core-seconds and denoiser calls."""
    from restore.degradations.kernels import line_kernel

    parameters = {**ASKED[task], **more}
    scale = parameters.get("scale", 1)
    height = round((megapixels * 1e6 / 1.5) ** 0.5 / scale)
    width = round(height * 1.5)
    if "mask" in parameters:
        mask = torch.zeros(height, width, dtype=torch.bool)
        mask[height // 3 : height // 2, width // 3 : width // 2] = True
        parameters["mask"] = mask
    if "kernel" in parameters:
        parameters["kernel"] = line_kernel(*parameters["kernel"])
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "in.jpg", Path(folder) / "out.jpg"
        photograph(width, height, task).save(source, quality=95)
        start = time.process_time()
        result = restorer.restore(source, task, **parameters)
        result.save(target)
        return time.process_time() - start, result.report["nfe"]


def photograph(width: int, height: int, task: str) -> Image.Image:
    """Smooth waves under noise of 15; what is in a picture hardly matters for the time."""
    across, down = np.linspace(0.0, 40.0, width), np.linspace(0.0, 30.0, height)
    waves = 127.5 + 80.0 * np.sin(down[:, None, None] + across[None, :, None] * np.array([1.0, 1.3, 1.7]))
    noisy = waves + np.random.default_rng(0).normal(0.0, 15.0, waves.shape)
    picture = Image.fromarray(
        (noisy * (0.15 if task == "low-light-enhance" else 1.0)).round().clip(0, 255).astype(np.uint8)
    )
    return picture.convert("L") if task == "colorize" else picture


def peak_gib() -> float:
    """Largest resident set so far (Linux counts it in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()
