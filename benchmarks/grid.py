"""The grid of `runtimes.py`: every runtime and precision at several sizes and batches, beside the machine's ceiling.

A runtime that would take longer than `Limits.longest` for one call of a size is left out of it, which the table says.
"""

from __future__ import annotations

import copy
import itertools
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import ceiling
import common
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from models.parity import compare
from models.runtime import Choice, building
from models.runtime.measuring import COMPARED
from restore import Restorer
from restore.errors import PriorError
from restore.prior import Denoiser, TiledDenoiser
from restore.prior.memory import available_bytes

REFERENCE, TF32 = "torch:fp32", "torch:tf32"
#: Noise level of the calls, in the range of [-1, 1].
SIGMA = 0.2
SIDES, BATCHES = (256, 512, 1024), (1, 4, 16)
#: What the bars are about: tiles as a service cuts them.
BAR_CELL, WANTED_GPU_SPEEDUP, WANTED_GPU_LOSS = (256, 16), 3.0, 0.02
CANDIDATES = {
    "cpu": (
        REFERENCE, "torch:bf16", "onnxruntime:fp32", "onnxruntime:int8", "openvino:fp32", "openvino:bf16",
        "openvino:int8",
    ),
    "cuda": (
        REFERENCE, TF32, "torch:bf16", "torch:fp16", "torch-cudagraphs:bf16", "torch-cudagraphs:fp16",
        "torch-compile:fp16", "onnxruntime:fp32", "onnxruntime:fp16", "tensorrt:fp16",
    ),
}  # fmt: skip
RESTORED_SIDES, RESTORED_TASKS = (512, 1024, 2048), ("denoise", "super-resolve")

#: Of main memory, that the hungriest runtime needs for a pixel: 16 pictures of 1024x1024 did not fit into 23 GiB.
BYTES_A_PIXEL = 2000

Cell = tuple[int, int]
"""(side, pictures in one call)"""
Run = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Limits:
    """How much time is spent.

    Attributes:
        longest: seconds that one call may take.
        cell: seconds for the timed rounds of one size and batch.
        rounds: the fewest and the most.
        total: seconds after which no further size is begun.
        crops: pictures that the answers are compared on.
        restored: seconds after which no further restoration is begun.
    """

    longest: float
    cell: float
    rounds: tuple[int, int]
    total: float
    crops: int
    restored: float


LIMITS = {"cpu": Limits(10.0, 15.0, (2, 9), 600.0, 2, 120.0), "cuda": Limits(2.0, 1.2, (5, 40), 45.0, 16, 12.0)}


def cells(words: Sequence[str]) -> list[Cell]:
    """Read "256x16" and the like."""
    return [(int(side), int(batch)) for side, _, batch in (word.partition("x") for word in words)]


def all_cells(device: torch.device) -> list[Cell]:
    """The larger the later: what a size costs is foreseen from the smaller ones. A GPU begins with the bar's own."""
    every = sorted(itertools.product(SIDES, BATCHES), key=lambda cell: cell[0] ** 2 * cell[1])
    return every if device.type == "cpu" else [BAR_CELL, *(cell for cell in every if cell != BAR_CELL)]


class AsPyTorchComes:
    """float32 as PyTorch computes it on a GPU when nothing is said: its convolutions round to TensorFloat-32."""

    def __init__(self, loaded: Any, device: torch.device) -> None:
        network = copy.deepcopy(loaded.network).to(device, memory_format=torch.channels_last)
        self._network, self.info = network.eval().requires_grad_(False), loaded.info

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Denoise."""
        place = next(self._network.parameters()).device
        with torch.no_grad():
            answer = self._network(x.to(place).contiguous(memory_format=torch.channels_last), sigma.to(place))
        clipped: Tensor = answer.clamp(-1.0, 1.0).to(x.device)
        return clipped


def build(loaded: Any, device: torch.device, names: Sequence[str]) -> tuple[dict[str, Denoiser], dict[str, float], Any]:
    """The runtimes that there are, the seconds until each was ready, and why the others are not."""
    ready, seconds, missing = dict[str, Denoiser](), dict[str, float](), dict[str, str]()
    for name in names:
        tell(f"preparing {name}")
        try:
            if name != TF32:
                building.prepare(Choice.parse(name), loaded.network, loaded.info, device)
            start = common.clock()
            if name == TF32:
                ready[name] = AsPyTorchComes(loaded, device)
            else:
                network = copy.deepcopy(loaded.network)
                ready[name] = building.build_choice(Choice.parse(name), network, loaded.info, device)
            seconds[name] = common.clock() - start
        except (PriorError, RuntimeError) as error:
            missing[name] = str(error)
    return ready, seconds, missing


def prepare(loaded: Any, device: torch.device, names: Sequence[str], wanted: Sequence[Cell]) -> None:
    """Export, compile and try beforehand: what is kept on the disk is found again by the measurement.

    Raises:
        SystemExit: a runtime is not there, or cannot answer.
    """
    ready, _, failures = build(loaded, device, names)
    for name, run in ready.items():
        for side, batch in wanted if name.startswith("torch-compile") else [(256, 1)]:
            with attempt(f"{name} {side}x{batch}", failures, name):
                run(*inputs(side, batch, device))
    if failures:
        raise SystemExit("\n".join(f"{name}: {why}" for name, why in failures.items()))


def measure(
    loaded: Any, device: torch.device, pictures: Sequence[Tensor], names: Sequence[str], wanted: Sequence[Cell],
    compiled: Sequence[Cell],
) -> tuple[list[common.Table], list[str]]:  # fmt: skip
    """The tables and what they say of the bars.

    Args:
        loaded: the prior.
        device: where it runs.
        pictures: clean ones of at least 256x256 that the answers are compared on.
        names: NAME:PRECISION each; `CANDIDATES` when empty.
        wanted: sizes and batches.
        compiled: of these, the ones that runtimes which compile for each size are measured at.
    """
    limits, begun = LIMITS[device.type], time.perf_counter()
    names = list(dict.fromkeys([REFERENCE, *(names or CANDIDATES[device.type])]))
    ceilings = measure_ceilings(loaded.network, device)
    flops = flops_per_pixel(loaded)
    ready, seconds, missing = build(loaded, device, names)
    parity, lost = parity_table(ready, seconds, pictures[: limits.crops])
    tell(parity.markdown())
    table = common.Table(
        "The denoiser call, medians of rounds in turns",
        ["size", "batch", "runtime", "rounds", "ms", "megapixels a second", f"times {REFERENCE}", "TFLOP/s",
         "% of the ceiling", "remark"],
    )  # fmt: skip
    rate, medians = dict[str, float](), dict[Cell, dict[str, float]]()
    for cell in wanted:
        if time.perf_counter() - begun > limits.total:
            table.add(f"{cell[0]}x{cell[0]}", cell[1], "all", *[None] * 6, "no time was left")
            continue
        found, rounds, remarks = one_cell(ready, cell, device, limits, rate, cell in compiled)
        medians[cell] = found
        megapixels = cell[0] ** 2 * cell[1] / 1e6
        for name in names:
            if name in found:
                reached = flops * megapixels / found[name] / 1e6
                best = ceilings.get(precision_of(name, ready))
                table.add(
                    f"{cell[0]}x{cell[0]}", cell[1], name, rounds, 1e3 * found[name], megapixels / found[name],
                    found[REFERENCE] / found[name] if REFERENCE in found else None, reached,
                    100.0 * 1e3 * reached / best.rate if best else None, "-",
                )  # fmt: skip
            elif name in remarks:
                table.add(f"{cell[0]}x{cell[0]}", cell[1], name, *[None] * 6, remarks[name])
        tell("\n".join("  ".join(map(str, row)) for row in table.rows[-len(names) :]))
    notes = [f"{name} is not here: {why}" for name, why in missing.items()]
    notes += verdicts(device, medians, lost)
    return [ceiling_table(ceilings, device), parity, table], notes


def verdicts(device: torch.device, medians: dict[Cell, dict[str, float]], lost: dict[str, float]) -> list[str]:
    """What the bars of a GPU say; those of a CPU are judged elsewhere."""
    notes = ["Every call is given tensors on the device; copies from and to the host are not in it."]
    at_bar = medians.get(BAR_CELL, {})
    if device.type == "cpu" or REFERENCE not in at_bar:
        return notes
    half = {name: seconds for name, seconds in at_bar.items() if name.endswith("fp16") and name in lost}
    notes.append(
        f"{REFERENCE} is IEEE float32; {TF32} is what PyTorch computes for float32 when nothing is said: it rounds the "
        "inputs of convolutions to TensorFloat-32."
    )
    for name, seconds in sorted(half.items(), key=lambda item: item[1]):
        against = at_bar[REFERENCE] / seconds
        usual = ""
        if TF32 in at_bar:
            default = at_bar[TF32] / seconds
            usual = f" and {default:.2f} times {TF32} ({'as' if default >= WANTED_GPU_SPEEDUP else 'less than'} wanted)"
        reached = against >= WANTED_GPU_SPEEDUP and lost[name] < WANTED_GPU_LOSS
        notes.append(
            f"{name} at {BAR_CELL[0]}x{BAR_CELL[0]}, batch {BAR_CELL[1]}: {against:.2f} times {REFERENCE}{usual}, at "
            f"most {lost[name]:.4f} dB lost; wanted: {WANTED_GPU_SPEEDUP:g} times, below {WANTED_GPU_LOSS} dB: "
            f"{'reached' if reached else 'missed'}."
        )
    return notes


def one_cell(
    ready: dict[str, Denoiser], cell: Cell, device: torch.device, limits: Limits, rate: dict[str, float],
    compile_it: bool,
) -> tuple[dict[str, float], int, dict[str, str]]:  # fmt: skip
    """Median seconds of each runtime at one size, the number of rounds, and why the others were left out.

    Args:
        ready: the runtimes.
        cell: side and batch.
        device: where the inputs lie.
        limits: of the time.
        rate: seconds for a pixel, the least so far; brought up to date.
        compile_it: whether those that compile for every size are to be tried.
    """
    x, sigma = inputs(*cell, device)
    pixels, remarks, taken = cell[0] ** 2 * cell[1], dict[str, str](), dict[str, list[float]]()
    once = 0.0
    needed, there = pixels * BYTES_A_PIXEL, available_bytes()
    for name, run in ready.items():
        if device.type == "cpu" and there is not None and needed > there:
            remarks[name] = f"left out: may need {needed / 2**30:.0f} GiB, {there / 2**30:.0f} are free"
            continue
        if name.startswith("torch-compile") and not compile_it:
            remarks[name] = "not compiled for this size here"
            continue
        if pixels * rate.get(name, 0.0) > limits.longest:
            remarks[name] = f"left out: about {pixels * rate[name]:.0f} s a call"
            continue
        with attempt(f"{name} at {cell[0]}x{cell[1]}", remarks, name):
            timed(run, x, sigma)  # chooses kernels for this size
            seconds = timed(run, x, sigma) if device.type == "cuda" else rate.get(name, 0.0) * pixels
            once += seconds
            taken[name] = []
    fewest, most = limits.rounds
    rounds = min(max(int(limits.cell / max(once, 1e-9)), fewest), most)
    for _ in range(rounds):
        for name in list(taken):
            with attempt(f"{name} at {cell[0]}x{cell[1]}", remarks, name):
                taken[name].append(timed(ready[name], x, sigma))
    medians = {name: statistics.median(values) for name, values in taken.items() if values and name not in remarks}
    for name, seconds in medians.items():
        rate[name] = min(rate.get(name, seconds / pixels), seconds / pixels)
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return medians, rounds, remarks


@contextmanager
def attempt(what: str, remarks: dict[str, str] | None = None, name: str = "") -> Iterator[None]:
    """Memory may not do for the largest sizes, and no runtime's exceptions have a base in common."""
    try:
        yield
    except Exception as error:
        why = (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
        tell(f"{what}: {type(error).__name__}: {why}")
        if remarks is not None:
            remarks[name] = f"failed: {why}"


def inputs(side: int, batch: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Noisy pictures on the device; what they show does not matter."""
    x = torch.randn(batch, 3, side, side, generator=torch.Generator().manual_seed(0)).mul_(0.5)
    return x.to(device), torch.full((batch,), SIGMA, device=device)


def timed(run: Run, x: Tensor, sigma: Tensor) -> float:
    """Seconds of one call."""
    start = common.clock()
    with torch.no_grad():
        run(x, sigma)
    return common.clock() - start


def parity_table(
    ready: dict[str, Denoiser], seconds: dict[str, float], pictures: Sequence[Tensor]
) -> tuple[common.Table, dict[str, float]]:
    """How far each runtime is from PyTorch in float32 on photographs, and the most dB that each loses."""
    batch = torch.cat([common.centre(picture, 256, 256) for picture in pictures])
    table = common.Table(
        f"PSNR lost against {REFERENCE} on {len(batch)} photographs of 256x256, in dB",
        ["runtime", *(f"sigma {level:g}" for level in COMPARED), "largest RMS difference of 255", "ready after, s"],
        digits=4,
    )
    lost = {}
    for name, run in ready.items():
        remarks = dict[str, str]()
        with attempt(f"parity of {name}", remarks, name):
            found = compare(ready[REFERENCE], run, [batch], COMPARED)
            lost[name] = found.psnr_lost
            levels = found.by_level()
            table.add(name, *(levels.get(level) for level in COMPARED), found.rms_error, seconds[name])
    return table, lost


def measure_ceilings(network: Any, device: torch.device) -> dict[str, ceiling.Best]:
    """The best rate of a single convolution by precision, in GFLOP/s."""
    tell("measuring the ceiling")
    if device.type == "cpu":
        found = {name: ceiling.measure(name) for name in ceiling.PRECISIONS}
    else:
        widths = tuple(getattr(getattr(network, "config", None), "channels", ceiling.WIDTHS))
        found = {name: ceiling.measure_on_gpu(name, widths, device) for name in ceiling.GPU_PRECISIONS}
    return {name: best for name, best in found.items() if best is not None}


def ceiling_table(ceilings: dict[str, ceiling.Best], device: torch.device) -> common.Table:
    """The ceilings."""
    library = "oneDNN, batch 1" if device.type == "cpu" else f"cuDNN, batch {ceiling.GPU_BATCH}, the network's widths"
    table = common.Table(f"Ceiling: one 3x3 convolution of PyTorch ({library})", ["precision", "TFLOP/s", "at"])
    for name, best in ceilings.items():
        table.add(name, best.rate / 1e3, best.shape)
    return table


def precision_of(name: str, ready: dict[str, Denoiser]) -> str:
    """What the convolutions of these calls are computed in."""
    return "tf32" if name == TF32 else computed_in(ready[name])


def computed_in(denoiser: Denoiser) -> str:
    """The precision of a call at `SIGMA`: of "int8+bf16" the coarse half where it is safe there."""
    coarse, _, exact = denoiser.info.runtime.partition(":")[2].partition("+")
    safe_from = getattr(getattr(denoiser, "denoiser", denoiser), "safe_from", 0.0)
    return exact if exact and safe_from > 127.5 * SIGMA else coarse


def flops_per_pixel(loaded: Any) -> float:
    """Floating-point operations for one pixel: two for every multiply-add."""
    side = 256
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        copy.deepcopy(loaded.network)(torch.zeros(1, 3, side, side), torch.full((1,), 0.2))
    return float(counter.get_total_flops()) / side**2


def restorations(loaded: Any, device: torch.device, picture: Tensor, name: str, rounds: int = 3) -> common.Table:
    """Whole restorations by size of the result and tiles in a call; decoding and encoding are not in it."""
    table = common.Table(
        f"Whole restorations with {name}, tiles of 256, medians of {rounds}",
        ["task", "size", "tiles in a call", "calls of the prior", "seconds", "megapixels a second"], digits=3,
    )  # fmt: skip
    denoiser = building.build_choice(Choice.parse(name), copy.deepcopy(loaded.network), loaded.info, device)
    begun = time.perf_counter()
    for side, task, batch in itertools.product(RESTORED_SIDES, RESTORED_TASKS, BATCHES):
        if time.perf_counter() - begun > LIMITS[device.type].restored:
            table.add(task, f"{side}x{side}", batch, *[None] * 3)
            continue
        scale = 4 if task == "super-resolve" else 1
        small = torch.nn.functional.interpolate(picture, (side // scale, side // scale), mode="bicubic")
        unit = ((small + 1.0) / 2.0).clamp(0.0, 1.0)
        settings: dict[str, Any] = {"scale": 4, "noise": 0.0} if scale > 1 else {"noise": 25.0}
        restorer = Restorer(TiledDenoiser(denoiser, 256, None, batch))
        with attempt(f"{task} {side} {batch}"):
            run = partial(restorer.restore, unit, task, **settings)
            calls, taken = run().report["nfe"], []
            for _ in range(rounds):
                start = common.clock()
                run()
                taken.append(common.clock() - start)
            seconds = statistics.median(taken)
            table.add(task, f"{side}x{side}", batch, calls, seconds, side**2 / seconds / 1e6)
            tell("  ".join(map(str, table.rows[-1])))
    return table


def tell(what: str) -> None:
    """Progress."""
    print(what, file=sys.stderr, flush=True)
