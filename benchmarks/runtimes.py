"""Runtimes side by side: the denoiser call in each, what it loses, and what a whole restoration adds to it.

The private folder of measurements is the user's own: what this finds is what `--runtime auto` takes afterwards.
"""

from __future__ import annotations

import io
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import common
import grid
import numpy as np
import torch
from PIL import Image

from models.registry import choose_device
from models.runtime import Choice, building
from models.runtime.measuring import Measured, measure, remember, remembered
from restore import Restorer
from restore.evaluate import psnr
from restore.prior import Denoiser, TiledDenoiser

LEVEL = 25.0
WANTED_SPEEDUP, WANTED_LOSS, WANTED_COLD, WANTED_RATIO = 2.5, 0.05, 4.0, 1.3
PARTS = ("calls", "sizes", "quality", "cold", "warm")
#: Stored in files of their own; `prepare` stores nothing but what the others find ready.
GRID_PARTS = ("prepare", "grid", "restorations")


def main() -> None:
    """Run and report."""
    parser = common.arguments(__doc__ or "")
    parser.add_argument("--rounds", type=int, default=9, help="calls of each runtime, taken in turns")
    parser.add_argument("--runtimes", nargs="*", default=(), help="NAME:PRECISION each; all that there are by default")
    parser.add_argument("--processes", type=int, default=3, help="of the cold measurement, for each runtime")
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS + GRID_PARTS)
    parser.add_argument("--cells", nargs="*", default=(), metavar="SIDExBATCH", help="of the grid; all by default")
    parser.add_argument("--compiled", nargs="*", default=None, metavar="SIDExBATCH", help="of these, the ones that "
                        "torch-compile is measured at; all by default")  # fmt: skip
    parser.add_argument("--restored-with", default="auto", help="NAME:PRECISION of the part restorations")
    options = common.parse(parser)
    loaded = common.open_loaded(options)
    device = choose_device(options.device)
    run_grid(options, loaded, device)
    if not set(options.parts) & set(PARTS):
        return
    tables, notes = [], []
    rows: list[Measured] = []
    if "calls" in options.parts:
        rows = measure(loaded.network, loaded.info, device, options.runtimes, rounds=options.rounds, on_step=tell)
        if not options.runtimes:
            remember(loaded.network, loaded.info, device, rows)
        tables.append(calls_table(rows, options.rounds))
    found = remembered(loaded.network, device)
    if not rows and found is not None:
        # What was measured here with these versions before; a run of all parts takes long.
        rows = [Measured(**row) for row in found["rows"]]
        tables.append(calls_table(rows, options.rounds))
    auto = "torch" if found is None else found["chosen"]
    notes.append(f"--runtime auto is {auto} here.")
    if rows and (chosen := next((row for row in rows if row.choice == auto), None)) is not None:
        notes.append(
            f"auto against eager float32 torch: {chosen.speedup:.2f} times; wanted: {WANTED_SPEEDUP}, "
            f"{verdict((chosen.speedup or 0) >= WANTED_SPEEDUP)}."
        )
    exact = build(loaded, device, "torch:fp32")
    fast = build(loaded, device, auto)
    if "sizes" in options.parts:
        tables.append(sizes(exact, fast, auto))
    if "quality" in options.parts:
        table, lost = quality(options, exact, fast, auto)
        tables.append(table)
        tell(table.markdown())
        notes.append(
            f"Lost on CBSD68 at sigma {LEVEL:g}: {lost:.4f} dB; wanted: below {WANTED_LOSS}, "
            f"{verdict(lost < WANTED_LOSS)}."
        )
    picture = noisy(options.data)
    if "warm" in options.parts:
        table, ratio = warm(fast, picture, auto)
        tables.append(table)
        tell(table.markdown())
        notes.append(
            f"512x512 from file to file against the bare call: {ratio:.2f}; wanted: below {WANTED_RATIO}, "
            f"{verdict(ratio < WANTED_RATIO)}."
        )
    if "cold" in options.parts:
        table, seconds = cold(picture, auto, options.processes)
        tables.append(table)
        notes.append(
            f"`pellucid denoise` of 512x512, cold: {seconds:.1f} s; wanted: below {WANTED_COLD:g}, "
            f"{verdict(seconds < WANTED_COLD)}."
        )
    load = Path("/proc/loadavg")
    if load.exists():
        notes.append(f"Load average when the measurement ended: {load.read_text().split()[0]} (this process included).")
    facts = common.circumstances(exact)  # before the first file of the results changes
    if rows:
        plot(rows, options.out, f"runtimes{suffix(device)}")
    common.report(options.out, f"runtimes{suffix(device)}", "Runtimes", tables, notes, facts)


def run_grid(options: Any, loaded: Any, device: torch.device) -> None:
    """The parts that are stored on their own."""
    wanted = grid.cells(options.cells) or grid.all_cells(device)
    compiled = wanted if options.compiled is None else grid.cells(options.compiled)
    if "prepare" in options.parts:
        grid.prepare(loaded, device, options.runtimes or grid.CANDIDATES[device.type], compiled)
    if not {"grid", "restorations"} & set(options.parts):
        return
    facts = common.circumstances(None)
    facts["prior"] = {"name": loaded.info.name, "digest": loaded.info.digest}
    pictures = [clean for _, clean in common.pictures(options.data / "test" / "CBSD68", options.images)]
    if "grid" in options.parts:
        tables, notes = grid.measure(loaded, device, pictures, options.runtimes, wanted, compiled)
        common.report(options.out, f"runtimes_grid{suffix(device)}", "Runtimes by size and batch", tables, notes, facts)
    if "restorations" in options.parts:
        name = str(building.fastest_known(loaded.network, device)) if options.restored_with == "auto" else (
            options.restored_with
        )  # fmt: skip
        table = grid.restorations(loaded, device, pictures[0], name)
        common.report(options.out, f"restorations{suffix(device)}", "Whole restorations", [table], [], facts)


def suffix(device: torch.device) -> str:
    """Of the files with results, so that those of a GPU stand beside those of the CPU."""
    return "" if device.type == "cpu" else f"-{device.type}"


def verdict(reached: bool) -> str:
    """In a word."""
    return "reached" if reached else "missed"


def tell(what: str) -> None:
    """Progress."""
    print(what, file=sys.stderr, flush=True)


def build(loaded: Any, device: torch.device, name: str) -> Denoiser:
    """A runtime with a network of its own, for pictures of any size."""
    import copy

    return TiledDenoiser(
        building.build_choice(Choice.parse(name), copy.deepcopy(loaded.network), loaded.info, device), 512, 48, 1
    )


def calls_table(rows: Sequence[Measured], rounds: int) -> common.Table:
    """The measurement of `pellucid models bench`."""
    table = common.Table(
        f"One call at 256x256, medians of {rounds} rounds side by side",
        [
            "runtime",
            "ms",
            "times torch fp32",
            "processor, ms",
            "times torch fp32",
            "most dB lost at any level",
            "ready after, s",
            "remark",
        ],
        digits=3,
    )
    reference = next(row.processor or 0.0 for row in rows if row.choice == "torch:fp32")
    for row in rows:
        milliseconds = None if row.seconds is None else round(1e3 * row.seconds, 1)
        processor = None if row.processor is None else round(1e3 * row.processor, 1)
        share = None if row.processor is None else reference / row.processor
        table.add(row.choice, milliseconds, row.speedup, processor, share, row.psnr_lost, row.start, row.remark or "-")
    return table


def sizes(exact: Denoiser, fast: Denoiser, auto: str) -> common.Table:
    """Calls of several sizes and batches."""
    columns = ["size", "batch", "torch fp32, s", f"{auto}, s", "ratio"]
    table = common.Table("Sizes and batches, medians of 3", columns, digits=3)
    for side, batch in ((256, 1), (256, 4), (512, 1)):
        x, sigma = torch.randn(batch, 3, side, side).clamp(-1, 1), torch.full((batch,), 0.2)
        slow, quick = [], []
        for number in range(4):
            for denoiser, taken in ((exact, slow), (fast, quick)):
                start = common.clock()
                denoiser(x, sigma)
                if number:
                    taken.append(common.clock() - start)
        table.add(f"{side}x{side}", batch, statistics.median(slow), statistics.median(quick),
                  statistics.median(slow) / statistics.median(quick))  # fmt: skip
    return table


def quality(options: Any, exact: Denoiser, fast: Denoiser, auto: str) -> tuple[common.Table, float]:
    """PSNR on CBSD68."""
    scores: list[list[float]] = [[], []]
    for name, clean in common.pictures(options.data / "test" / "CBSD68", options.images):
        x = clean + LEVEL / 127.5 * common.noise_for(name, clean.shape)
        for denoiser, values in zip((exact, fast), scores, strict=True):
            answer = denoiser(x, torch.full((1,), LEVEL / 127.5)).clamp(-1, 1)
            values.append(float(psnr(answer, clean)))
    table = common.Table(f"CBSD68, {len(scores[0])} pictures, sigma {LEVEL:g}", ["runtime", "PSNR, dB"], digits=4)
    means = [common.mean(values) for values in scores]
    table.add("torch:fp32", means[0])
    table.add(auto, means[1])
    return table, means[0] - means[1]


def noisy(data: Path) -> bytes:
    """A photograph of 512x512 with noise 25, as PNG."""
    _, clean = common.pictures(data / "test" / "CBSD68", 1)[0]
    big = torch.nn.functional.interpolate(clean, (512, 512), mode="bicubic").clamp(-1, 1)
    pixels = ((big + LEVEL / 127.5 * common.noise_for("runtimes", big.shape))[0].permute(1, 2, 0) + 1.0) * 127.5
    stream = io.BytesIO()
    Image.fromarray(pixels.round().clamp(0, 255).numpy().astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def warm(fast: Denoiser, picture: bytes, auto: str) -> tuple[common.Table, float]:
    """Decode to encode in a process that has done it before, against the bare call."""
    restorer = Restorer(fast)
    x = restorer.restore(picture, "denoise", noise=LEVEL).tensor
    table = common.Table(f"512x512 in a warm process, {auto}, medians of 5", ["what", "seconds", "times the call"], 3)
    taken: dict[str, list[float]] = {"bare call": [], "PNG to PNG, noise given": [], "PNG to PNG, noise estimated": []}
    for number in range(6):
        for what, noise in (("bare call", None), ("PNG to PNG, noise given", LEVEL),
                            ("PNG to PNG, noise estimated", "auto")):  # fmt: skip
            start = common.clock()
            if noise is None:
                fast(x, torch.full((1,), LEVEL / 127.5))
            else:
                restorer.restore(picture, "denoise", noise=noise).encode("png")
            if number:
                taken[what].append(common.clock() - start)
    medians = {what: statistics.median(values) for what, values in taken.items()}
    for what, seconds in medians.items():
        table.add(what, seconds, seconds / medians["bare call"])
    return table, medians["PNG to PNG, noise estimated"] / medians["bare call"]


def cold(picture: bytes, auto: str, processes: int) -> tuple[common.Table, float]:
    """The whole command in a new process, wall clock and processor time."""
    columns = ["runtime", "wall, s", "processor, s"]
    table = common.Table(f"`pellucid denoise` of 512x512 in a new process, medians of {processes}", columns)
    medians = {}
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "in.png"
        source.write_bytes(picture)
        for runtime in dict.fromkeys(("auto", "torch")):
            walls, processor = [], []
            for _ in range(processes):
                command = [sys.executable, "-c", "from service.cli.main import main; main()", "denoise", str(source),
                           str(Path(folder) / "out.png"), "--overwrite", "-q", "--runtime", runtime]  # fmt: skip
                before, start = used(), time.perf_counter()
                subprocess.run(command, check=True)
                walls.append(time.perf_counter() - start)
                processor.append(used() - before)
            medians[runtime] = statistics.median(walls)
            table.add(f"auto ({auto})" if runtime == "auto" else runtime, medians[runtime],
                      statistics.median(processor))  # fmt: skip
    return table, medians["auto"]


def used() -> float:
    """Processor seconds of the processes that this one has waited for."""
    import resource

    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def plot(rows: Sequence[Measured], out: Path, name: str) -> None:
    """Speed against loss, as SVG and PNG; without matplotlib there is none."""
    with suppress(ImportError):
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot

        shown = [row for row in rows if row.seconds is not None]
        figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.2), constrained_layout=True, sharey=True)
        names = [row.choice for row in shown]
        axes[0].barh(names, [row.speedup for row in shown])
        axes[0].axvline(WANTED_SPEEDUP, color="grey", linestyle="--")
        axes[0].set(xlabel="times eager float32 torch")
        axes[1].barh(names, [max(row.psnr_lost or 0.0, 0.0) for row in shown])
        axes[1].axvline(WANTED_LOSS, color="grey", linestyle="--")
        axes[1].set(xlabel="most dB lost at any noise level")
        axes[0].invert_yaxis()
        figure.suptitle("The embedded prior at 256x256")
        out.mkdir(parents=True, exist_ok=True)
        for kind in ("svg", "png"):
            # Without a date and with fixed ids the same numbers give the same file.
            matplotlib.rcParams["svg.hashsalt"] = "pellucid"
            figure.savefig(out / f"{name}.{kind}", dpi=120, metadata={"Date": None} if kind == "svg" else None)
        pyplot.close(figure)


if __name__ == "__main__":
    main()
