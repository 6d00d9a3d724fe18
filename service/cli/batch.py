"""Restore the pictures of one command line, one after another."""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from restore.errors import OutputError, RestoreError, RuntimeUnavailableError, UndecodableImageError
from service.cli.jobs import Job, plan_jobs
from service.cli.progress import PictureBar
from service.cli.values import read_kernel, read_mask

if TYPE_CHECKING:
    from restore.restorer import Restorer
    from restore.result import Result

#: Options that are fields of `restore.tasks.parameters.Parameters`.
PARAMETERS = (
    "noise", "scale", "fidelity", "steps", "samples", "strength", "seed", "kernel", "mask", "quality", "exposure",
)  # fmt: skip
NEEDS = {"deblur": "kernel", "inpaint": "mask"}


def restore_pictures(task: str, options: dict[str, Any]) -> int:
    """Restore every picture; a failure is reported and the next one done.

    Args:
        task: a name of `restore.tasks.TASKS`.
        options: of the command.

    Returns:
        0, or 1 when a picture failed.

    Raises:
        click.UsageError, ParameterError: the command line is wrong; nothing was done.
        PriorError: the prior cannot be used.
    """
    jobs = plan_jobs(options["inputs"], options["output"], options["format"], options["uncertainty"])
    _check(task, options, jobs)
    parameters = _parameters(options)
    data = _standard_input() if jobs[0].source is None else None
    failed = 0
    with PictureBar(len(jobs), quiet=options["quiet"]) as bar:
        restorer: Restorer | None = None
        for job in jobs:
            bar.start(job.name)
            try:
                _check_target(job, options["overwrite"])
                if restorer is None:
                    restorer = load_restorer(options["prior"], options["device"], options["runtime"])
                source: Any = job.source if data is None else data
                result = restorer.restore(source, task, on_step=bar.step, **parameters)
                _write(job, result, options)
            except (RuntimeUnavailableError, ImportError):
                raise
            except Exception as error:
                if restorer is None and not isinstance(error, OutputError):
                    raise
                failed += 1
                _report_failure(job, error, bar, options["as_json"])
            else:
                _report_success(job, result, bar, options)
            bar.done()
    return 1 if failed else 0


def load_restorer(prior: str | None, device: str, runtime: str) -> Restorer:
    """A restorer for an installed prior, or for one in a folder: what is written with a separator is a path.

    Raises:
        PriorError: it cannot be loaded.
    """
    from restore import Restorer

    if prior is None or not (os.sep in prior or "/" in prior):
        return Restorer.from_pretrained(prior, device=device, runtime=runtime)
    from models.registry import load_folder
    from models.runtime import check_runtime
    from restore.errors import UnknownPriorError

    check_runtime(runtime)
    if not Path(prior).is_dir():
        raise UnknownPriorError(
            f"no folder {prior} to load a prior from; pellucid models list names the installed ones"
        )
    return Restorer(load_folder(Path(prior), device=device, runtime=runtime))


def _check(task: str, options: dict[str, Any], jobs: list[Job]) -> None:
    """What the command line alone can tell is wrong."""
    needed = NEEDS.get(task)
    if needed is not None and options.get(needed) is None:
        raise click.UsageError(f"{task} needs --{needed}")
    if jobs[0].target is None:
        if options["as_json"]:
            raise click.UsageError("--json and a picture cannot both go to standard output: name a file for OUT")
        if sys.stdout.isatty():
            raise click.UsageError("standard output is a terminal; a picture belongs in a file or a pipe")
    if options["uncertainty"] is not None:
        if (options["samples"] or 1) < 2:
            raise click.UsageError("--uncertainty is the spread of samples: add --samples 8, say")
        for job in jobs:
            if job.uncertainty is not None and job.uncertainty.suffix.lower() not in (".png", ".npy"):
                raise click.UsageError(f"{job.uncertainty}: an uncertainty map is written as .png or .npy")


def _parameters(options: dict[str, Any]) -> dict[str, Any]:
    """The parameters that were given, checked before anything is loaded."""
    given = {name: options[name] for name in PARAMETERS if options.get(name) is not None}
    if "scale" in given:
        given["scale"] = int(given["scale"])
    if "kernel" in given:
        given["kernel"] = read_kernel(given["kernel"])
    if "mask" in given:
        given["mask"] = read_mask(given["mask"])
    from restore.tasks.parameters import Parameters

    Parameters(**given)
    return given


def _standard_input() -> bytes:
    if sys.stdin.isatty():
        raise click.UsageError("standard input is a terminal: pipe a picture into it, or name a file for IN")
    data = sys.stdin.buffer.read()
    if not data:
        raise UndecodableImageError("standard input: nothing came in")
    return data


def _check_target(job: Job, overwrite: bool) -> None:
    """Find out before the work whether its result can be written."""
    for target in (job.target, job.uncertainty):
        if target is None:
            continue
        if target.exists() and not overwrite and target.is_file():
            raise OutputError(f"{target} exists; --overwrite replaces it")
        if target.is_dir():
            raise OutputError(f"{target} is a folder; give a file name in it")
        folder = target.parent
        if not folder.exists() and not job.may_make_folders:
            raise OutputError(f"{target}: the folder {folder} does not exist; create it first")
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        if not folder.is_dir():
            raise OutputError(f"{target}: {folder} is not a folder; choose another output")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise OutputError(f"{target}: no permission to write in {folder}; choose another output")


def _write(job: Job, result: Result, options: dict[str, Any]) -> None:
    for target in (job.target, job.uncertainty):
        if target is not None and job.may_make_folders:
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise OutputError(f"{target.parent}: cannot be made ({error.strerror})") from error
    if job.target is None:
        sys.stdout.buffer.write(result.encode(options["format"], keep_gps=options["keep_gps"]))
        sys.stdout.buffer.flush()
    else:
        result.save(job.target, keep_gps=options["keep_gps"])
    if job.uncertainty is not None:
        result.save_uncertainty(job.uncertainty)


def _report_success(job: Job, result: Result, bar: PictureBar, options: dict[str, Any]) -> None:
    report = result.report
    output = "-" if job.target is None else str(job.target)
    if options["as_json"]:
        record = {"input": job.name, "output": output, "uncertainty": None, **report}
        if job.uncertainty is not None:
            record["uncertainty"] = str(job.uncertainty)
        bar.print(json.dumps(record), sys.stdout)
    if options["quiet"]:
        return
    for warning in report["warnings"]:
        bar.print(f"pellucid: warning: {warning}", sys.stderr)
    if not options["as_json"]:
        found = _found(report["found"])
        calls = f"{report['nfe']} call{'s' if report['nfe'] != 1 else ''}"
        parts = [report["task"], *found, calls, f"{report['seconds']:.1f} s"]
        bar.print(f"{job.name} -> {output}: {', '.join(parts)}", sys.stderr)


def _found(found: dict[str, Any]) -> list[str]:
    """What was found, each with where it comes from: "noise 24.8 (estimated)"."""
    words = []
    for key, value in found.items():
        if value is None or isinstance(value, dict | list) or key.endswith("_source"):
            continue
        source = found.get(f"{key}_source")
        number = f"{value:.4g}" if isinstance(value, float) else value
        words.append(f"{key} {number}" + (f" ({source})" if source else ""))
    return words


def _report_failure(job: Job, error: Exception, bar: PictureBar, as_json: bool) -> None:
    if isinstance(error, BrokenPipeError):
        raise error
    if os.environ.get("PELLUCID_DEBUG"):
        traceback.print_exception(error)
    code, message = _described(error)
    message = " ".join(message.split())
    if as_json:
        output = "-" if job.target is None else str(job.target)
        record = {"input": job.name, "output": output, "error": {"code": code, "message": message}}
        bar.print(json.dumps(record), sys.stdout)
    named = message if job.name in message else f"{job.name}: {message}"
    bar.print(f"pellucid: {named}", sys.stderr)


def _described(error: Exception) -> tuple[str, str]:
    """A stable code, and what happened in the user's words."""
    if isinstance(error, RestoreError):
        return error.code, str(error)
    # torch.OutOfMemoryError is a RuntimeError; on the CPU the allocator raises a plain one.
    if isinstance(error, MemoryError) or "memory" in str(error).lower():
        return "out_of_memory", "not enough memory for a picture of this size; restore a smaller one or a part of it"
    detail = str(error).strip().splitlines()
    return "unexpected", (
        f"unexpected {type(error).__name__}: {detail[0] if detail else 'no detail'}; PELLUCID_DEBUG=1 says where"
    )
