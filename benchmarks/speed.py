"""Speed on this machine: the convolution ceiling, the embedded prior's share of it, whole restorations, scaling.

The ceiling is the best rate that a single 3x3 convolution of PyTorch (oneDNN) reaches here over widths of 64-256 and
several sizes, in the same precision: measured, not taken from a data sheet. The fastest ones of a search are measured
again in turns with the prior, both on the CPU and in the same way: calls one after another, medians of several turns.
What "as shipped" is run by, `pellucid models bench` or `runtimes.py` has found before.
"""

from __future__ import annotations

import copy
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import ceiling
import common
import grid
import numpy as np
import plots
import torch
from PIL import Image
from torch import Tensor, nn

from restore import Restorer
from restore.prior import Denoiser
from restore.timing import TASKS, time_tasks

SIZE = 256
MEGAPIXELS = (1, 4, 12, 24)
MEMORY_LIMIT_GIB = 3.0
SHARE_WANTED = 0.8
TURN_SECONDS = 0.3
#: Of each precision: the fastest of a search may have had a lucky moment.
CONVOLUTIONS_IN_TURNS = 2
PARTS = ("prior", "tasks", "scaling")
RUNS = ("torch:fp32", "torch:bf16", "torch-compile:bf16", "openvino:bf16", "openvino:int8")
AS_SHIPPED, CONVOLUTIONS = "as shipped", "its convolutions alone, PyTorch, bf16"
#: Pictures that a service may put into one call, and what is timed with as many.
BATCH, BATCH_NOTE, BATCHED = 4, "4 in a call", ("openvino:bf16", AS_SHIPPED)

Run = Callable[[Tensor, Tensor], Tensor]


def main() -> None:
    """Run and report."""
    parser = common.arguments(__doc__ or "")
    parser.add_argument("--rounds", type=int, default=9, help="of the side-by-side timing of the prior")
    parser.add_argument("--megapixels", type=int, nargs="*", default=MEGAPIXELS)
    parser.add_argument("--scaling-task", default="denoise", help="restored at every size")
    parser.add_argument("--scaling-parameters", type=json.loads, default={"noise": 15.0}, help="JSON, of that task")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS)
    parser.add_argument("--tasks", nargs="+", default=TASKS, choices=TASKS)
    options = common.parse(parser)
    denoiser = common.open_prior(options)
    facts = common.circumstances(denoiser)
    picture = common.centre(common.pictures(options.data / "test" / "CBSD68", 1)[0][1], SIZE)
    tables, notes = [], []
    if "prior" in options.parts:
        found, said = time_prior(options, denoiser, picture)
        tables += found
        notes += said
    if "tasks" in options.parts:
        tables.append(task_table(Restorer(denoiser), picture, options.tasks, options.out))
    if "scaling" in options.parts and options.megapixels:
        table, said = scaling(options, picture)
        tables.append(table)
        notes += said
    common.report(options.out, "speed", "Speed", tables, notes, facts)


def time_prior(options: Any, shipped: Denoiser, picture: Tensor) -> tuple[list[common.Table], list[str]]:
    """The ceiling of each precision, and the prior at 256x256 in every way it can be run.

    A run's share is that of the ceiling of the precision that its convolutions are computed in.
    """
    loaded, device = common.open_loaded(options), torch.device("cpu")
    x = picture + grid.SIGMA * common.noise_for("speed", picture.shape)
    flops = grid.flops_per_pixel(loaded) * SIZE * SIZE
    names = [name for name in RUNS if not (options.no_compile and name.startswith("torch-compile"))]
    ready, _, missing = grid.build(loaded, device, names)
    runs: dict[str, Run] = {**ready, AS_SHIPPED: shipped, CONVOLUTIONS: convolutions(loaded.network)}
    computed = {name: grid.computed_in(run) for name, run in {**ready, AS_SHIPPED: shipped}.items()}
    computed[CONVOLUTIONS] = "bf16"
    level = torch.full((1,), grid.SIGMA)
    calls: dict[str, Callable[[], object]] = {label: partial(run, x, level) for label, run in runs.items()}
    several = {f"{label}, {BATCH_NOTE}": label for label in BATCHED if label in runs}
    batch, levels = x.repeat(BATCH, 1, 1, 1), level.repeat(BATCH)
    calls |= {title: partial(runs[label], batch, levels) for title, label in several.items()}
    computed |= {title: computed[label] for title, label in several.items()}
    ceilings, medians = beside_ceilings(calls, options.rounds)
    title = f"The prior at {SIZE}x{SIZE} ({flops / 1e9:.1f} GFLOP), medians of {options.rounds} rounds side by side"
    prior = common.Table(title, ["run", "ms a picture", "GFLOP/s", "ceiling", "share of it, %"], digits=1)
    shares = {}
    for label, seconds_a_call in medians.items():
        seconds = seconds_a_call / (BATCH if label in several else 1)
        rate, best = flops / seconds / 1e9, ceilings.get(computed[label])
        shares[label] = None if best is None else rate / best.rate
        prior.add(label, 1e3 * seconds, rate, computed[label], None if best is None else 100.0 * rate / best.rate)
    notes = [f"{name} is not here: {why}" for name, why in missing.items()]
    return [grid.ceiling_table(ceilings, device), prior], [*notes, *verdicts(shares, computed, shipped.info.runtime)]


def beside_ceilings(
    calls: dict[str, Callable[[], object]], rounds: int
) -> tuple[dict[str, ceiling.Best], dict[str, float]]:
    """The ceiling of each precision, and the median seconds of each call, all in turns."""
    candidates = {name: ceiling.fastest(name, CONVOLUTIONS_IN_TURNS) for name in ceiling.PRECISIONS}
    fast = {f"{name}, {place}": best for name, found in candidates.items() for place, best in enumerate(found)}
    medians = in_turns(calls | {label: best.run for label, best in fast.items() if best.run}, rounds)
    again = {label: replace(best, rate=best.flop / medians.pop(label) / 1e9) for label, best in fast.items()}
    ceilings = {
        name: max((again[f"{name}, {place}"] for place in range(len(found))), key=lambda best: best.rate)
        for name, found in candidates.items()
        if found
    }
    return ceilings, medians


def in_turns(runs: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of a call of each. A turn is many calls, one after another, as a restoration makes them and as
    the ceiling is measured: a single call finds its weights, and the threads, where another run left them."""
    turns = [{name: ceiling.median(run, TURN_SECONDS) for name, run in runs.items()} for _ in range(rounds)]
    return {name: statistics.median(turn[name] for turn in turns) for name in runs}


def verdicts(shares: dict[str, float | None], computed: dict[str, str], runtime: str) -> list[str]:
    """The bar, of the prior as shipped and of the fastest run in each reduced precision.

    Args:
        shares: of the ceiling of its own precision, by run.
        computed: that precision, by run.
        runtime: which one the prior as shipped is run by.
    """
    notes = []
    alone = {name: share for name, share in shares.items() if name != CONVOLUTIONS and BATCH_NOTE not in name}
    for kind, those in (("one picture", alone), (BATCH_NOTE, {n: s for n, s in shares.items() if BATCH_NOTE in n})):
        for precision in ("bf16", "int8"):
            found = {name: share for name, share in those.items() if share is not None and computed[name] == precision}
            if found:
                name = max(found, key=lambda key: found[key])
                notes.append(
                    f"Most of the {precision} ceiling, {kind}: {name}, {found[name]:.1%}; {verdict(found[name])}."
                )
    share = shares[AS_SHIPPED]
    if share is not None:
        notes.append(
            f"The prior as shipped ({runtime}) runs at {share:.1%} of the {computed[AS_SHIPPED]} ceiling; "
            f"{verdict(share)}."
        )
    return notes


def verdict(share: float) -> str:
    """Is the bar reached?"""
    return f"wanted: {SHARE_WANTED:.0%}, {'reached' if share >= SHARE_WANTED else 'missed'}"


def convolutions(network: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    """Every convolution of the network, one after another on inputs of the right shape, and nothing else: what the
    network would take if all the rest were free."""
    found: list[tuple[nn.Module, tuple[int, ...]]] = []

    def remember(module: nn.Module, inputs: tuple[Tensor, ...], _: Tensor) -> None:
        found.append((module, tuple(inputs[0].shape)))

    kinds = (nn.Conv2d, nn.ConvTranspose2d)
    hooks = [m.register_forward_hook(remember) for m in network.modules() if isinstance(m, kinds)]
    with torch.no_grad():
        network(torch.zeros(1, 3, SIZE, SIZE), torch.ones(1))
    for hook in hooks:
        hook.remove()
    prepared = []
    for module, shape in found:
        layer = copy.deepcopy(module).requires_grad_(False)
        layer = layer.to(dtype=torch.bfloat16, memory_format=torch.channels_last)  # type: ignore[call-overload]
        prepared.append((layer, torch.randn(shape).to(torch.bfloat16, memory_format=torch.channels_last)))

    def run(x: Tensor, _: Tensor) -> Tensor:
        for layer, data in prepared:
            layer(data)
        return x

    return run


def task_table(restorer: Restorer, picture: Tensor, tasks: Sequence[str], out: Path) -> common.Table:
    """Tasks on one 256x256 picture with their default numbers of calls; the picture's content hardly matters."""
    table = common.Table(
        f"Whole restorations of a {SIZE}x{SIZE} picture (super-resolve: to {4 * SIZE}x{4 * SIZE}), fidelity 1",
        ["task", "calls", "seconds", "megapixels per second"],
        digits=3,
    )
    for timing in time_tasks(restorer, picture, tasks, rounds=1):
        table.add(timing.name, timing.calls, timing.seconds, timing.megapixels_per_second)
    with plots.figure(out, "speed_tasks") as figure:
        axes = figure.add_subplot()
        axes.barh([row[0] for row in table.rows][::-1], [row[2] for row in table.rows][::-1])
        axes.set(xlabel=f"seconds for {SIZE}x{SIZE} pixels")
        axes.grid(alpha=0.3, axis="x")
    return table


def scaling(options: Any, picture: Tensor) -> tuple[common.Table, list[str]]:
    """Seconds and peak memory of restoring a JPEG photograph, from file to file, each size in its own process."""
    table = common.Table(
        f"A photograph with noise 15, file to file: {options.scaling_task} {json.dumps(options.scaling_parameters)}",
        ["megapixels", "size", "seconds", "seconds per megapixel", "saving, seconds", "peak memory, GiB", "calls"],
        digits=2,
    )
    with tempfile.TemporaryDirectory() as folder:
        for megapixels in options.megapixels:
            source = Path(folder) / f"{megapixels}.jpg"
            size = photograph(picture, megapixels, source)
            found = restore_alone(options, source, Path(folder) / "restored.jpg")
            seconds = found["restore_seconds"]
            table.add(
                megapixels, size, seconds, seconds / megapixels, found["save_seconds"], found["peak_gib"], found["nfe"]
            )
            source.unlink()
    rows = {row[0]: row for row in table.rows}
    largest = max(rows)
    notes = [
        f"Peak memory at {largest} megapixels: {rows[largest][5]:.2f} GiB; wanted at 24: below {MEMORY_LIMIT_GIB:.0f}.",
        f"Seconds per megapixel at {largest} against {min(rows)}: {rows[largest][3] / rows[min(rows)][3]:.2f} times.",
    ]
    plot(table, options.out)
    return table, notes


def photograph(picture: Tensor, megapixels: int, path: Path) -> str:
    """Write a noisy 3:2 JPEG made of mirrored copies of a picture; returns its size in words."""
    height = round((megapixels * 1e6 / 1.5) ** 0.5)
    width = round(megapixels * 1e6 / height)
    tile = ((picture[0].permute(1, 2, 0).numpy() + 1.0) * 127.5).astype(np.float32)
    tile = np.concatenate([tile, tile[::-1]])
    tile = np.concatenate([tile, tile[:, ::-1]], axis=1)
    repeats = (-(-height // tile.shape[0]), -(-width // tile.shape[1]), 1)
    pixels = np.tile(tile, repeats)[:height, :width]
    pixels += np.random.default_rng(0).standard_normal(pixels.shape, dtype=np.float32) * 15.0
    Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8)).save(path, quality=95)
    return f"{width}x{height}"


def restore_alone(options: Any, source: Path, target: Path) -> dict[str, float]:
    """Run one_restoration.py."""
    command = [sys.executable, str(Path(__file__).with_name("one_restoration.py")), "--device", options.device]
    if options.weights is not None:
        command += ["--weights", str(options.weights)]
    if options.prior is not None:
        command += ["--prior", options.prior]
    command += ["--task", options.scaling_task, "--parameters", json.dumps(options.scaling_parameters)]
    command += [str(source), str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"restoring {source.name} failed:\n{done.stderr}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def plot(table: common.Table, out: Path) -> None:
    """Time and memory over megapixels."""
    with plots.figure(out, "speed", (9.0, 3.5)) as figure:
        megapixels = [row[0] for row in table.rows]
        for index, (column, label) in enumerate(((2, "seconds"), (5, "peak memory, GiB"))):
            axes = figure.add_subplot(1, 2, index + 1)
            axes.plot(megapixels, [row[column] for row in table.rows], "o-")
            if column == 5:
                axes.axhline(MEMORY_LIMIT_GIB, color="grey", linestyle="--")
            axes.set(xlabel="megapixels", ylabel=label, xlim=(0, None), ylim=(0, None))
            axes.grid(alpha=0.3)
        figure.suptitle(table.title)


if __name__ == "__main__":
    main()
