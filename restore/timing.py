"""How fast this machine restores: calls of the prior and whole restorations, taken in turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from restore.errors import ParameterError
from restore.prior.protocol import Denoiser
from restore.restorer import Restorer

#: Tasks in the order they are timed; "auto" is one of the others.
TASKS = ("denoise", "super-resolve", "deblur", "inpaint", "colorize", "dejpeg", "low-light-enhance")
#: Calls before anything is timed: runtimes choose their kernels in the first ones.
WARM_UP = 2


@dataclass(frozen=True)
class Timing:
    """Median seconds of one thing.

    Attributes:
        name: what was timed.
        seconds: median of the rounds.
        megapixels: of the result.
        calls: of the prior.
    """

    name: str
    seconds: float
    megapixels: float
    calls: int

    @property
    def megapixels_per_second(self) -> float:
        """Throughput."""
        return self.megapixels / self.seconds


def clock() -> float:
    """Seconds, once the accelerator has finished what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def side_by_side(runs: dict[str, Callable[[], Any]], rounds: int, warm_up: int = WARM_UP) -> dict[str, float]:
    """Median seconds of each, taken in turns so that a busy moment meets all of them.

    Raises:
        ParameterError: no round at all.
    """
    if rounds < 1:
        raise ParameterError(f"timing takes one round or more, not {rounds}")
    for run in runs.values():
        for _ in range(warm_up):
            run()
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            start = clock()
            run()
            seconds[name].append(clock() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def synthetic_picture(side: int) -> Tensor:
    """[1, 3, side, side] in [-1, 1]: waves, an edge and a little noise; what a picture holds hardly matters here."""
    y, x = torch.meshgrid(torch.linspace(0, 1, side), torch.linspace(0, 1, side), indexing="ij")
    waves = torch.stack([(25 * x * y).sin(), (14 * y).cos(), (x > 0.5).float() - 0.5])[None] * 0.7
    noise = torch.randn(waves.shape, generator=torch.Generator().manual_seed(0))
    return (waves + 0.05 * noise).clamp(-1.0, 1.0)


def task_parameters(task: str, side: int) -> dict[str, Any]:
    """What a task is given besides the picture.

    Raises:
        ParameterError: not one of `TASKS`.
    """
    hole = torch.zeros(side, side, dtype=torch.bool)
    hole[3 * side // 8 : 5 * side // 8, 3 * side // 8 : 5 * side // 8] = True
    known: dict[str, dict[str, Any]] = {
        "denoise": {"noise": 25.0},
        "super-resolve": {"scale": 4, "noise": 0.0},
        "deblur": {"kernel": torch.ones(9, 9) / 81.0, "noise": 2.55},
        "inpaint": {"mask": hole},
        "colorize": {},
        "dejpeg": {"quality": 30},
        "low-light-enhance": {},
    }
    if task not in known:
        raise ParameterError(f"no task {task!r} to time; known: {', '.join(TASKS)}")
    return known[task]


def time_calls(denoiser: Denoiser, sides: Sequence[int], rounds: int = 5) -> list[Timing]:
    """Single calls of the prior on square pictures."""
    inputs = {f"{side}x{side}": synthetic_picture(side) for side in sides}
    level = torch.full((1,), 0.2)
    with torch.no_grad():
        medians = side_by_side({name: partial(denoiser, x, level) for name, x in inputs.items()}, rounds)
    return [Timing(name, medians[name], x.shape[-1] ** 2 / 1e6, 1) for name, x in inputs.items()]


def time_tasks(
    restorer: Restorer, picture: Tensor, tasks: Sequence[str] = TASKS, rounds: int = 3, **parameters: Any
) -> list[Timing]:
    """Whole restorations at fidelity 1 with each task's own number of calls, decoding and encoding left out.

    Args:
        restorer: with the prior.
        picture: [1, 3, H, W] in [-1, 1], square.
        tasks: some of `TASKS`.
        rounds: of which the median counts, after one to warm up.
        **parameters: given to every task besides its own.
    """
    unit = (picture + 1.0) / 2.0
    side = picture.shape[-1]
    done: dict[str, Any] = {}

    def run(task: str) -> None:
        done[task] = restorer.restore(unit, task, **(task_parameters(task, side) | parameters))

    medians = side_by_side({task: partial(run, task) for task in tasks}, rounds, warm_up=1)
    return [
        Timing(task, medians[task], done[task].tensor[0, 0].numel() / 1e6, int(done[task].report["nfe"]))
        for task in tasks
    ]
