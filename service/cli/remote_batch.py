"""Restore the pictures of one command line on a server, several at a time."""

from __future__ import annotations

import asyncio
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from restore.errors import ParameterError
from restore.images.formats import format_of
from restore.images.writing import write_atomically
from service.cli.checks import check_options, check_target, make_folders, standard_input
from service.cli.planning import Plan, plan_pictures
from service.cli.progress import PictureBar
from service.cli.remote import client_module, described, stops_everything, worded
from service.cli.reporting import report_failure, report_success
from service.cli.values import KERNELS, is_path

#: Pictures at a time: the client's own number, enough to keep a server's batches full and leave room for others.
CONCURRENCY = 4
#: Formats that a server answers with.
WRITTEN = ("png", "jpeg", "webp", "tiff", "avif")
#: Options that go to the server as they are.
SENT = ("noise", "fidelity", "steps", "samples", "strength", "seed", "quality", "exposure", "prior")


def restore_remotely(task: str, options: dict[str, Any], address: str) -> int:
    """Restore every picture on a server; a failure is reported, and the others are restored.

    Args:
        task: a name of `restore.tasks.TASKS`.
        options: of the command; none of those about this machine.
        address: of the server.

    Returns:
        0, or 1 when a picture failed.

    Raises:
        click.UsageError: the command line is wrong, or asks for what no server does; nothing was sent.
        NoServerError: the server cannot be used.
    """
    plans = plan_pictures(options["inputs"], options["output"], options["format"], options["uncertainty"])
    check_options(task, options, plans)
    _check_formats(plans, options["format"])
    parameters = _parameters(options)
    data = standard_input() if plans[0].source is None else None
    if len(plans) > 1:
        parameters["priority"] = "batch"
    with worded(), PictureBar(len(plans), quiet=options["quiet"]) as bar:
        return asyncio.run(_Batch(task, options, parameters, plans, data, bar).run(address))


class _Batch:
    """One command line's pictures; what became of each is reported in the order of the command line."""

    def __init__(
        self,
        task: str,
        options: dict[str, Any],
        parameters: dict[str, Any],
        plans: Sequence[Plan],
        data: bytes | None,
        bar: PictureBar,
    ) -> None:
        self._task, self._options, self._parameters = task, options, parameters
        self._plans, self._data, self._bar = plans, data, bar
        self._outcomes: dict[int, dict[str, Any] | Exception] = {}
        self._running: dict[int, float] = {}
        self._next = self._finished = self._failed = 0

    async def run(self, address: str) -> int:
        """All pictures; the number that a shell sees."""
        numbers = iter(range(len(self._plans)))
        key = os.environ.get("PELLUCID_API_KEY")
        async with client_module().AsyncClient(address, api_key=key, timeout=None) as client:

            async def work() -> None:
                for number in numbers:
                    await self._one(client, number)

            tasks = [asyncio.create_task(work()) for _ in range(min(CONCURRENCY, len(self._plans)))]
            try:
                await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()
                # What is cancelled tells the server that nobody waits any more.
                await asyncio.gather(*tasks, return_exceptions=True)
                for number in sorted(self._outcomes):
                    self._report(number)
        return 1 if self._failed else 0

    async def _one(self, client: Any, number: int) -> None:
        self._running[number] = 0.0
        try:
            self._outcomes[number] = await self._restore(client, number)
        except BrokenPipeError:
            raise
        except Exception as error:
            if stops_everything(error):
                raise
            self._outcomes[number] = error
        del self._running[number]
        self._finished += 1
        while self._next in self._outcomes:
            self._report(self._next)
            self._next += 1
        self._bar.show(self._finished, self._running.values())

    async def _restore(self, client: Any, number: int) -> dict[str, Any]:
        """Restore and write one picture; its report."""
        plan = self._plans[number]
        check_target(plan, self._options["overwrite"])
        kind = self._options["format"] if plan.target is None else format_of(plan.target)
        more = {"output_format": kind} if kind else {}
        if self._bar.visible:
            more["on_event"] = lambda event: self._moved(number, event)
        source: Any = plan.source if self._data is None else self._data
        image = await client.restore(source, self._task, **self._parameters, **more)
        chart = None if plan.uncertainty is None else await image.uncertainty()
        report: dict[str, Any] = (await image.report()).model_dump(mode="json") | {"job": image.job_id}
        make_folders(plan)
        if plan.target is None:
            sys.stdout.buffer.write(image.bytes)
            sys.stdout.buffer.flush()
        else:
            await asyncio.to_thread(write_atomically, plan.target, image.bytes)
        if chart is not None:
            await asyncio.to_thread(chart.save, plan.uncertainty)
        if image.degraded:
            report["warnings"].append(f"the server ran it degraded: {image.degraded}")
        return report

    def _moved(self, number: int, event: Any) -> None:
        if event.type == "progress" and event.fraction is not None:
            self._running[number] = event.fraction
            self._bar.show(self._finished, self._running.values())

    def _report(self, number: int) -> None:
        plan, outcome = self._plans[number], self._outcomes.pop(number)
        if not isinstance(outcome, Exception):
            return report_success(plan, outcome, self._bar, self._options)
        self._failed += 1
        if os.environ.get("PELLUCID_DEBUG"):
            traceback.print_exception(outcome)
        return report_failure(plan, *described(outcome), self._bar, self._options["as_json"])


def _check_formats(plans: Sequence[Plan], format: str | None) -> None:
    """Refuse what the server does not write, before anything is sent.

    Raises:
        click.UsageError: a format that only this machine writes.
    """
    for plan in plans:
        kind = format if plan.target is None else format_of(plan.target)
        if kind is not None and kind not in WRITTEN:
            raise click.UsageError(
                f"{plan.target or f'--format {kind}'}: a server writes {', '.join(WRITTEN)}, not {kind}; "
                "--format chooses one"
            )


def _parameters(options: dict[str, Any]) -> dict[str, Any]:
    """What the server is told, checked as far as this machine can.

    Raises:
        click.UsageError, ParameterError: something cannot be sent.
    """
    if options["prior"] is not None and is_path(options["prior"]):
        raise click.UsageError(f"--prior {options['prior']}: a server takes the name of a prior, not a folder")
    if (options["samples"] or 1) > 1 and options["fidelity"] == 1.0:
        raise ParameterError("at fidelity 1 every sample is the same picture: give samples > 1 a lower fidelity")
    given = {name: options[name] for name in SENT if options.get(name) is not None}
    if options.get("scale") is not None:
        given["scale"] = int(options["scale"])
    if options.get("kernel") is not None:
        given["kernel"] = _kernel(options["kernel"])
    if options.get("mask") is not None:
        given["mask"] = _mask(options["mask"])
    return given | ({"keep_gps": True} if options["keep_gps"] else {})


def _kernel(text: str) -> str:
    """A blur's form, or a file that the client reads."""
    from service.schemas.sources import KERNEL_FORM

    if Path(text).is_file() or KERNEL_FORM.match(text):
        return text
    form = text.partition(":")[0]
    hint = f"write {form}:{KERNELS[form]} with numbers" if form in KERNELS else "no such file"
    raise click.BadParameter(f"{text!r}: {hint}", param_hint="--kernel")


def _mask(text: str) -> Any:
    """A picture's path, or an array's values as a picture: bright where they are not zero."""
    if not Path(text).is_file():
        raise click.BadParameter(f"no such file: {text}", param_hint="--mask")
    if not text.lower().endswith(".npy"):
        return text
    import numpy as np

    try:
        array = np.squeeze(np.load(text, allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        raise click.BadParameter(f"{text} is no readable .npy array ({error})", param_hint="--mask") from error
    if array.ndim != 2:
        raise click.BadParameter(f"{text} has shape {array.shape}; [height, width] is taken", param_hint="--mask")
    return array != 0
