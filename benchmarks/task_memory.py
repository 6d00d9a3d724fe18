"""Peak memory of every task on a photograph of 24 megapixels, from file to file, each in a process of its own."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import common
import memory
from PIL import Image

#: Megapixels of the result of every task, and what it is at most to take.
MEGAPIXELS, LIMIT_GIB = 24, 3.0
#: By name: how many times smaller the picture given is than the result, the task, and its parameters. Two calls, three
#: where holes are filled at several sizes: after that nothing more is held.
TASKS: dict[str, tuple[int, str, dict[str, Any]]] = {
    "denoise": (1, "denoise", {"noise": memory.NOISE, "steps": 2}),
    "denoise, a sample": (1, "denoise", {"noise": memory.NOISE, "steps": 3, "fidelity": 0.0}),
    "denoise, mean of two samples": (1, "denoise", {"noise": memory.NOISE, "steps": 2, "fidelity": 0.0, "samples": 2}),
    "super-resolve x2": (2, "super-resolve", {"scale": 2, "steps": 2}),
    "super-resolve x4": (4, "super-resolve", {"scale": 4, "steps": 2}),
    "super-resolve x4, a sample": (4, "super-resolve", {"scale": 4, "steps": 2, "fidelity": 0.0}),
    "deblur": (1, "deblur", {"kernel": "gaussian:1.6", "noise": memory.NOISE, "steps": 2}),
    "inpaint": (1, "inpaint", {"steps": 3}),
    "inpaint, half-way to a sample": (1, "inpaint", {"steps": 3, "fidelity": 0.5}),
    "colorize": (1, "colorize", {"steps": 2}),
    "dejpeg": (1, "dejpeg", {"steps": 2}),
    "low-light-enhance": (1, "low-light-enhance", {"steps": 3}),
    "low-light-enhance, a sample": (1, "low-light-enhance", {"steps": 2, "fidelity": 0.0}),
    "auto": (1, "auto", {}),
}


def main() -> None:
    """Run and report."""
    parser = common.arguments(__doc__ or "")
    parser.add_argument("--tasks", nargs="*", default=list(TASKS), choices=TASKS)
    options = common.parse(parser)
    facts = common.circumstances(common.open_prior(options))
    ledger = common.Ledger(
        options.out / "task_memory.partial.jsonl", {key: facts[key] for key in ("prior", "packages")}
    )
    table = common.Table(
        f"A result of {MEGAPIXELS} megapixels", ["task", "calls", "peak, GiB", "loaded, GiB", "seconds"]
    )
    with tempfile.TemporaryDirectory() as folder:
        for name in options.tasks:
            if ledger.get(name) is None:
                ledger.put(measure(options, name, Path(folder)), name)
            found = ledger.get(name)
            print(name, found, flush=True)
            table.add(name, found["nfe"], found["peak_gib"], found["loaded_gib"], found["restore_seconds"])
    worst = max(table.rows, key=lambda row: row[2])
    reached = "reached" if worst[2] < LIMIT_GIB else "missed"
    notes = [
        "Peak: the largest resident set (VmHWM) of a process that reads a JPEG, restores it and writes a JPEG; loaded: "
        "with the prior, before the picture.",
        f"Most: {worst[0]}, {worst[2]:.2f} GiB; wanted: below {LIMIT_GIB:g}, {reached}.",
    ]
    common.report(options.out, "task_memory", "Memory of every task", [table], notes, facts)
    ledger.close()


def measure(options: Any, name: str, folder: Path) -> dict[str, Any]:
    """One restoration by the prior, whose result has `MEGAPIXELS`, in a process of its own."""
    smaller, task, parameters = TASKS[name]
    source = folder / "source.jpg"
    memory.photograph(options.data, MEGAPIXELS, source, smaller)
    if task == "inpaint":
        width, height = Image.open(source).size
        mask = Image.new("L", (width, height))
        for box in ((300, 500, 700, 540), (3000, 2000, 3100, 2100)):  # a strip, and a hole filled at several sizes
            mask.paste(255, box)
        mask.save(folder / "mask.png")
        parameters = {**parameters, "mask": str(folder / "mask.png")}
    return memory.alone(options, options.weights, task, parameters, source, ["--file"])


if __name__ == "__main__":
    main()
