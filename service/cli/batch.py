"""Restore the pictures of one command line, one after another."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import traceback
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from restore.errors import OutputError, RestoreError, RuntimeUnavailableError
from service.cli.checks import check_options, check_target, make_folders, standard_input
from service.cli.planning import Plan, plan_pictures
from service.cli.progress import PictureBar
from service.cli.reporting import report_failure, report_success
from service.cli.values import is_path, read_kernel, read_mask

if TYPE_CHECKING:
    from restore.restorer import Restorer
    from restore.result import Result

#: Options that are fields of `restore.tasks.parameters.Parameters`.
PARAMETERS = (
    "noise", "scale", "fidelity", "steps", "samples", "strength", "seed", "kernel", "mask", "quality", "exposure",
)  # fmt: skip


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
    plans = plan_pictures(options["inputs"], options["output"], options["format"], options["uncertainty"])
    check_options(task, options, plans)
    parameters = _parameters(options)
    _check_prior(options["prior"], task, parameters)
    data = standard_input() if plans[0].source is None else None
    failed = 0
    with PictureBar(len(plans), quiet=options["quiet"]) as bar:
        restorer: Restorer | None = None
        for plan in plans:
            bar.start(plan.name)
            try:
                check_target(plan, options["overwrite"])
                if restorer is None:
                    restorer = load_restorer(options["prior"], options["device"], options["runtime"], options["tile"])
                report = _restore(restorer, plan, data, task, options, parameters, bar)
            except (RuntimeUnavailableError, ImportError):
                raise
            except Exception as error:
                if restorer is None and not isinstance(error, OutputError):
                    raise
                failed += 1
                _report_failure(plan, error, bar, options["as_json"])
            else:
                report_success(plan, report, bar, options)
            bar.done()
    return 1 if failed else 0


def _restore(
    restorer: Restorer,
    plan: Plan,
    data: bytes | None,
    task: str,
    options: dict[str, Any],
    parameters: dict[str, Any],
    bar: PictureBar,
) -> dict[str, Any]:
    """Restore and write one picture; its report."""
    if data is None and plan.source is not None and plan.target is not None and plan.uncertainty is None:
        make_folders(plan)
        return restorer.restore_file(
            plan.source, plan.target, task, keep_gps=options["keep_gps"], on_step=bar.step, **parameters
        )
    source: Any = plan.source if data is None else data
    result = restorer.restore(source, task, on_step=bar.step, **parameters)
    _write(plan, result, options)
    return result.report


def load_restorer(prior: str | None, device: str, runtime: str, tile: int | None = None) -> Restorer:
    """A restorer for an installed prior, or for one in a file or folder: what is written with a separator is a path.

    Raises:
        PriorError: it cannot be loaded.
        ParameterError: a tile it cannot have.
    """
    if prior is None or not is_path(prior):
        return _load_installed(prior, device, runtime, tile)
    from models.registry import load_path
    from models.runtime import check_runtime
    from restore import Restorer
    from restore.errors import UnknownPriorError

    check_runtime(runtime)
    if not Path(prior).exists():
        raise UnknownPriorError(
            f"no file or folder {prior} to load a prior from; pellucid models list names the installed ones"
        )
    return Restorer(load_path(Path(prior), device=device, runtime=runtime), tile=tile)


def _check_prior(prior: str | None, task: str, parameters: dict[str, Any]) -> None:
    """Refuse, before anything is loaded, what an installed prior that only enlarges cannot do.

    Raises:
        ParameterError: see `restore.prior.enlarger.unfit`.
    """
    from models.registry import installed, prior_facts
    from restore.errors import ParameterError
    from restore.prior.enlarger import unfit

    if prior is None or is_path(prior) or prior not in installed():
        return
    facts = prior_facts(prior)
    refused = None if facts.scale is None else unfit(facts.name, facts.scale, task, parameters)
    if refused is not None:
        raise ParameterError(refused[1])


def _load_installed(prior: str | None, device: str, runtime: str, tile: int | None) -> Restorer:
    """Verify and compile the prior while another thread imports torch, which takes as long.

    The collector of garbage stands still meanwhile: what imports make stays, and looking through it again and again
    took a sixth of the time. Loading stays in this thread, which a signal can interrupt.
    """
    from restore.prior import load_prior

    collecting = gc.isenabled()
    gc.disable()
    try:
        Thread(target=_import_torch, name="import").start()
        denoiser = load_prior(prior, device=device, runtime=runtime)
        from restore import Restorer

        return Restorer(denoiser, tile=tile)
    finally:
        if collecting:
            gc.enable()


def _import_torch() -> None:
    # Whoever needs it next says why it cannot be imported.
    with contextlib.suppress(ImportError):
        import torch  # noqa: F401


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


def _write(plan: Plan, result: Result, options: dict[str, Any]) -> None:
    make_folders(plan)
    if plan.target is None:
        sys.stdout.buffer.write(result.encode(options["format"], keep_gps=options["keep_gps"]))
        sys.stdout.buffer.flush()
    else:
        result.save(plan.target, keep_gps=options["keep_gps"])
    if plan.uncertainty is not None:
        result.save_uncertainty(plan.uncertainty)


def _report_failure(plan: Plan, error: Exception, bar: PictureBar, as_json: bool) -> None:
    if isinstance(error, BrokenPipeError):
        raise error
    if os.environ.get("PELLUCID_DEBUG"):
        traceback.print_exception(error)
    report_failure(plan, *_described(error), bar, as_json)


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
