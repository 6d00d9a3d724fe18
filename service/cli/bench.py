"""`pellucid bench`: how fast this machine restores."""

from __future__ import annotations

import json
import platform
from typing import Any

import click

#: `restore.timing.TASKS`.
TASK_NAMES = ("denoise", "super-resolve", "deblur", "inpaint", "colorize", "dejpeg", "low-light-enhance")


@click.command()
@click.option("--prior", help="An installed prior, or the path of a folder with one.  [default: the embedded]")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--runtime", default="auto", show_default=True, help="What runs the prior.")
@click.option("--tile", type=click.IntRange(min=1), help="Side of the tiles.  [default: what fits into the memory]")
@click.option("--side", "sides", type=click.IntRange(min=16, max=4096), multiple=True, default=(256, 512),
              show_default=True, help="Of the square pictures single calls are timed on; may be repeated.")  # fmt: skip
@click.option("--size", type=click.IntRange(min=32, max=4096), default=256, show_default=True,
              help="Side of the picture that is restored.")  # fmt: skip
@click.option("--task", "tasks", type=click.Choice(TASK_NAMES), multiple=True,
              help="Time this one; may be repeated.  [default: all]")  # fmt: skip
@click.option("--steps", type=click.IntRange(1, 1000), help="Calls of the prior.  [default: the task's]")
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True, help="Of which the median counts.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def bench(
    prior: str | None,
    device: str,
    runtime: str,
    tile: int | None,
    sides: tuple[int, ...],
    size: int,
    tasks: tuple[str, ...],
    steps: int | None,
    rounds: int,
    as_json: bool,
) -> None:
    """Time single calls of the prior and whole restorations on this machine.

    Nothing else should run meanwhile. The picture is synthetic; files are neither read nor written.
    """
    from restore.timing import synthetic_picture, time_calls, time_tasks
    from service.cli.batch import load_restorer

    restorer = load_restorer(prior, device, runtime, tile)
    parameters: dict[str, Any] = {} if steps is None else {"steps": steps}
    calls = time_calls(restorer.denoiser, sides, rounds)
    whole = time_tasks(restorer, synthetic_picture(size), tasks or TASK_NAMES, rounds, **parameters)
    found = {
        "machine": _machine(),
        "prior": {"name": restorer.denoiser.info.name, "digest": restorer.denoiser.info.digest},
        "rounds": rounds,
        "calls": [_entry(timing) for timing in calls],
        "restorations": {"size": f"{size}x{size}", "tasks": [_entry(timing) for timing in whole]},
    }
    click.echo(json.dumps(found, indent=2) if as_json else _text(found))


def _entry(timing: Any) -> dict[str, Any]:
    """A `restore.timing.Timing`, JSON-ready."""
    return {
        "name": timing.name,
        "calls": timing.calls,
        "seconds": round(timing.seconds, 6),
        "megapixels_per_second": round(timing.megapixels_per_second, 4),
    }


def _machine() -> dict[str, Any]:
    import os

    import torch

    return {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _text(found: dict[str, Any]) -> str:
    """Two tables and what they depend on."""
    machine, size = found["machine"], found["restorations"]["size"]
    lines = ["| one call of the prior | seconds | megapixels per second |", "|---|---|---|"]
    lines += [f"| {e['name']} | {e['seconds']:.4f} | {e['megapixels_per_second']:.3f} |" for e in found["calls"]]
    lines += ["", f"| restoring {size} | calls | seconds | megapixels per second |", "|---|---|---|---|"]
    lines += [
        f"| {e['name']} | {e['calls']} | {e['seconds']:.3f} | {e['megapixels_per_second']:.3f} |"
        for e in found["restorations"]["tasks"]
    ]
    lines += [
        "",
        f"medians of {found['rounds']} rounds; prior {found['prior']['name']}; {machine['processor']}, "
        f"{machine['cores']} cores, {machine['threads']} threads"
        + (f", {machine['gpu']}" if machine["gpu"] else "")
        + f"; Python {machine['python']}, torch {machine['torch']}",
    ]
    return "\n".join(lines)
