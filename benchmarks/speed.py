"""Speed on this machine: the convolution ceiling, the embedded prior's share of it, whole restorations, scaling.

The ceiling is the best rate that a single 3x3 convolution of PyTorch (oneDNN) reaches here over widths of 64-256 and
several sizes: measured, not taken from a data sheet.
"""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import ceiling
import common
import numpy as np
import plots
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from models.denoiser import TorchDenoiser, network_info
from models.registry import load_network, prior_facts
from models.unet import DenoisingUNet
from restore import Restorer
from restore.timing import TASKS, side_by_side, time_tasks

SIZE = 256
MEGAPIXELS = (1, 2, 4, 8, 12, 24)
MEMORY_LIMIT_GIB = 3.0
SHARE_WANTED = 0.8
PARTS = ("prior", "tasks", "scaling")


def main() -> None:
    """Run and report."""
    parser = common.arguments(__doc__ or "")
    parser.add_argument("--rounds", type=int, default=15, help="of the side-by-side timing of the prior")
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


def time_prior(options: Any, denoiser: Any, picture: Tensor) -> tuple[list[common.Table], list[str]]:
    """The ceiling of each precision, and the prior at 256x256 in every way it can be run."""
    folder = options.weights if options.weights is not None else prior_facts(options.prior).folder
    network = load_network(folder)
    x = picture + 0.2 * common.noise_for("speed", picture.shape)
    flops = count_flops(network, x)
    ceilings = {name: ceiling.measure(name) for name in ceiling.PRECISIONS}
    table = common.Table("Ceiling: one 3x3 convolution, batch 1", ["precision", "best GFLOP/s", "at"], digits=0)
    for name, found in ceilings.items():
        table.add(name, found.rate if found else None, found.shape if found else "not supported here")
    runs = dict(ways(network, folder, options.no_compile))
    runs["as shipped"] = denoiser
    medians = side_by_side(
        {label: partial(run, x, torch.full((1,), 0.2)) for label, run in runs.items()}, options.rounds
    )
    best = max(found.rate for name, found in ceilings.items() if found and name != "int8")
    title = f"The prior at {SIZE}x{SIZE} ({flops / 1e9:.1f} GFLOP), medians of {options.rounds} rounds side by side"
    prior = common.Table(title, ["run", "ms", "GFLOP/s", "share of the ceiling, %"], digits=1)
    for label, seconds in medians.items():
        rate = flops / seconds / 1e9
        prior.add(label, 1e3 * seconds, rate, 100.0 * rate / best)
    share = flops / medians["as shipped"] / 1e9 / best
    note = f"The prior as shipped runs at {share:.0%} of the ceiling of {best:.0f} GFLOP/s; wanted: {SHARE_WANTED:.0%}."
    return [table, prior], [note]


def ways(
    network: DenoisingUNet, folder: Path, no_compile: bool
) -> list[tuple[str, Callable[[Tensor, Tensor], Tensor]]]:
    """The network run by PyTorch in every precision, eager and compiled."""
    info = network_info(network, "speed")
    found: list[tuple[str, Callable[[Tensor, Tensor], Tensor]]] = [
        (f"torch {precision}", TorchDenoiser(load_network(folder), info, precision=precision))
        for precision in ("fp32", "bf16")
    ]
    if not no_compile:
        found.append(("torch bf16, compiled", Compiled(load_network(folder))))
    found.append(("its convolutions alone, bf16", convolutions(network)))
    return found


class Compiled:
    """The network under torch.compile in bfloat16, its weights frozen into the program."""

    def __init__(self, network: nn.Module) -> None:
        network = network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        self._network = torch.compile(network, options={"freezing": True})

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Denoise."""
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            answer: Tensor = self._network(x.contiguous(memory_format=torch.channels_last), sigma)
        return answer


def convolutions(network: DenoisingUNet) -> Callable[[Tensor, Tensor], Tensor]:
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


def count_flops(network: nn.Module, x: Tensor) -> int:
    """Floating-point operations of one call: two for every multiply-add."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(x, torch.full((1,), 0.2))
    return int(counter.get_total_flops())


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
