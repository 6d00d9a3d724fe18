"""`pellucid jobs`: look after the jobs of a server."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from service.cli.remote import NoServerError, ServerError, connect, server_of, worded
from service.cli.values import Duration

STATES = ("queued", "running", "succeeded", "failed", "canceled", "expired")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, as the server describes jobs.")
_ID = click.argument("job_id", metavar="ID")


@click.group()
def jobs() -> None:
    """List, show, cancel and wait for the jobs of a server.

    The server is that of --server or PELLUCID_SERVER, else http://localhost:8000.
    """


def _client() -> Any:
    return connect(server_of(click.get_current_context()))


@jobs.command("list")
@click.option("--state", type=click.Choice(STATES), help="Only those.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="The newest so many.")
@_JSON
def list_command(state: str | None, limit: int, as_json: bool) -> None:
    """Show the newest jobs, the newest first."""
    with worded(), _client() as client:
        found = []
        for job in client.jobs.list(state, page_size=min(limit, 100)):
            found.append(job)
            if len(found) == limit:
                break
    if as_json:
        click.echo(json.dumps([job.model_dump(mode="json") for job in found], indent=2))
        return
    for job in found:
        click.echo(f"{job.id}  {job.state:<9}  {_when(job.created_at)}  {job.task:<17}  {_done(job)}".rstrip())


@jobs.command()
@_ID
@_JSON
def show(job_id: str, as_json: bool) -> None:
    """Show everything about a job."""
    with worded(), _client() as client:
        info = client.jobs.get(job_id).info
    _print(info, as_json)


@jobs.command()
@click.argument("job_ids", metavar="ID...", nargs=-1, required=True)
def cancel(job_ids: Sequence[str]) -> None:
    """Ask jobs to stop; a running one does within a step."""
    failed = False
    with worded(), _client() as client:
        for job_id in job_ids:
            try:
                with worded():
                    info = client.job(job_id).cancel()
            except NoServerError:
                raise
            except ServerError as error:
                failed = True
                click.echo(f"pellucid: {job_id}: {error.format_message()}", err=True)
            else:
                click.echo(f"{job_id}: {'canceled' if info.state == 'canceled' else 'asked to stop'}")
    sys.exit(1 if failed else 0)


@jobs.command()
@_ID
@click.argument("output", metavar="[OUT]", required=False)
@click.option("--timeout", type=Duration(), help="Give up after so long; the job goes on.  [default: never]")
@click.option("--overwrite/--no-overwrite", default=False, help="Replace an existing OUT.  [default: refuse]")
@_JSON
def wait(job_id: str, output: str | None, timeout: float | None, overwrite: bool, as_json: bool) -> None:
    """Wait until a job has ended, and write its picture to OUT, or to standard output for -.

    The exit code is 0 if it succeeded.
    """
    if output == "-" and as_json:
        raise click.UsageError("--json and a picture cannot both go to standard output: name a file for OUT")
    target = None if output in (None, "-") else Path(str(output))
    if target is not None:
        _check(target, overwrite)
    with worded(), _client() as client:
        job = client.job(job_id)
        info = job.wait(timeout)
        # Raises for a job without a picture: that is the error to tell.
        image = job.result() if output is not None or info.state != "succeeded" else None
    if output == "-" and image is not None:
        sys.stdout.buffer.write(image.bytes)
        sys.stdout.buffer.flush()
        return
    if target is not None and image is not None:
        from restore.images.writing import write_atomically

        write_atomically(target, image.bytes)
    _print(info, as_json)


def _check(target: Path, overwrite: bool) -> None:
    from service.cli.checks import check_target
    from service.cli.planning import Plan

    check_target(Plan(None, target), overwrite)


def _print(job: Any, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(job.model_dump(mode="json"), indent=2))
        return
    rows = [
        ("id", job.id),
        ("state", job.state + (", asked to stop" if job.cancel_requested and not job.ended else "")),
        ("task", job.task),
        ("parameters", _listed(job.parameters)),
        ("input", _picture(job.input)),
        ("result", _picture(job.result)),
        ("progress", _done(job)),
        ("created", _when(job.created_at)),
        ("started", _when(job.started_at)),
        ("finished", _when(job.finished_at)),
        ("expires", _when(job.expires_at)),
        ("seconds", _listed({k: round(v, 3) for k, v in job.metrics.items() if k != "nfe"})),
        ("degraded", job.degraded or ""),
        ("error", f"{job.error.message} [{job.error.code}]" if job.error else ""),
        *(("warning", warning.message) for warning in job.warnings),
    ]
    for name, value in rows:
        if value:
            click.echo(f"{name:<11}{value}")


def _done(job: Any) -> str:
    """How far a job has come, for one that has begun and has not ended."""
    return f"{job.progress.fraction:.0%}" if job.state == "running" else ""


def _when(time: Any) -> str:
    return "" if time is None else time.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _listed(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items() if value is not None)


def _picture(picture: Any) -> str:
    if picture is None:
        return ""
    kind = picture.media_type or picture.format or ""
    return f"{picture.width} x {picture.height} {kind}".rstrip()
