"""All tasks against classical methods in one table: runs the scripts that measure them and collects what they stored.

With --collect nothing is measured: the table is made of the results that lie in --out, whatever their date.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import common
import plots

#: Scripts, in the order they run.
SCRIPTS = ("denoise", "super_resolution", "lowlight", "other_tasks")
SUPER_RESOLUTION_CALLS = 8
#: A table and a row of denoise.py.
WHOLE_SET, CBM3D = "All 68 pictures", "CBM3D (literature)"

Row = tuple[str, str, float, str, float]
"""Task, measure, ours, the best classical method, its score."""


def main() -> None:
    """Run, collect, report."""
    parser = common.arguments(__doc__ or "")
    parser.add_argument("--collect", action="store_true", help="use the stored results")
    parser.add_argument("--scripts", nargs="+", default=SCRIPTS, choices=SCRIPTS, help="measure only these anew")
    options = common.parse(parser)
    if not options.collect:
        for script in options.scripts:
            measure(script, options)
    table = common.Table(
        "Ours at fidelity 1 against the best classical method",
        ["task", "measure", "ours", "classical", "which", "gain", "measured"],
        digits=2,
    )
    digests, missing = set(), []
    for script in SCRIPTS:
        path = options.out / f"{script}.json"
        if not path.exists():
            missing.append(f"{script}.json is missing: {script}.py was not run.")
            continue
        stored = json.loads(path.read_text())
        digests.add(stored.get("prior", {}).get("digest", "")[7:19])
        for task, measure_name, ours, which, best in COLLECT[script](stored["tables"]):
            table.add(task, measure_name, ours, best, which, ours - best, stored["date"][:10])
    draw(table, options.out)
    common.report(
        options.out,
        "quality",
        "Quality of all tasks",
        [table],
        [
            "Each row comes from the script of its task, whose results say on which pictures and under which "
            "circumstances; PSNR in dB, on luma for super-resolution.",
            f"Measured with the priors {', '.join(sorted(digests))} (first digits of their digests).",
            *missing,
        ],
        common.circumstances(None),
    )


def measure(script: str, options: Any) -> None:
    """Run a script with the same arguments."""
    command = [sys.executable, str(Path(__file__).with_name(f"{script}.py")), "--data", str(options.data)]
    command += ["--out", str(options.out), "--device", options.device]
    for name in ("prior", "weights", "images"):
        if getattr(options, name) is not None:
            command += [f"--{name}", str(getattr(options, name))]
    done = subprocess.run(command, check=False)
    if done.returncode:
        raise SystemExit(f"{script}.py failed")


def denoising(tables: list[dict[str, Any]]) -> Iterator[Row]:
    """The subsets that the classical methods saw, and CBM3D as published for the whole set."""
    best: dict[str, tuple[float, str, float]] = {}
    for table in tables:
        if table["title"].startswith("Every"):
            (method, *theirs), (_, *ours) = table["rows"]
        elif table["title"] == WHOLE_SET:
            rows = {row[0]: row[1:] for row in table["rows"]}
            method, theirs, ours = CBM3D, rows[CBM3D], rows["ours, sigma known"]
        else:
            continue
        for column, other, own in zip(table["columns"][1:], theirs, ours, strict=True):
            # Where several methods saw other pictures, the smaller gain counts.
            if other is not None and (column not in best or own - other < best[column][0] - best[column][2]):
                best[column] = (own, method, other)
    for column, (own, method, other) in best.items():
        yield f"denoising, {column}", "PSNR", own, method, other


def super_resolution(tables: list[dict[str, Any]]) -> Iterator[Row]:
    """Bicubic interpolation."""
    for table in tables:
        if not table["title"].endswith("PSNR-Y"):
            continue
        rows = {row[0]: row[1:] for row in table["rows"]}
        ours = rows[f"ours, {SUPER_RESOLUTION_CALLS} calls"]
        name = table["title"].split(" (")[0]
        for scale, own, other in zip(table["columns"][1:], ours, rows["bicubic"], strict=True):
            yield f"super-resolution {scale}, {name}", "PSNR-Y", own, "bicubic", other


def methods(tables: list[dict[str, Any]]) -> Iterator[Row]:
    """Tables of methods with their PSNR, ours among them."""
    for table in tables:
        if table["columns"][:2] != ["method", "PSNR"]:
            continue
        rows = {row[0]: row[1] for row in table["rows"]}
        others = {name: value for name, value in rows.items() if not name.startswith("ours")}
        best = max(others, key=others.__getitem__)
        title = "low light, real pairs" if "pairs" in table["title"] else table["title"]
        yield title, "PSNR", rows["ours"], best, others[best]


COLLECT = {"denoise": denoising, "super_resolution": super_resolution, "lowlight": methods, "other_tasks": methods}


def draw(table: common.Table, out: Path) -> None:
    """The gain of every row."""
    with plots.figure(out, "quality", (7.0, 0.3 * max(len(table.rows), 4) + 1.0)) as figure:
        axes = figure.add_subplot()
        axes.barh([row[0] for row in table.rows][::-1], [row[5] for row in table.rows][::-1])
        axes.axvline(0.0, color="grey")
        axes.set(xlabel="gain over the best classical method, dB")
        axes.grid(alpha=0.3, axis="x")


if __name__ == "__main__":
    main()
