"""The `pellucid` command: its subcommands, its errors and its exit codes."""

from __future__ import annotations

import gc
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Sequence
from enum import IntEnum
from types import FrameType
from typing import Any, NoReturn

import click

from restore.errors import ParameterError, PriorError, RestoreError
from service import __version__
from service.cli.bench import bench
from service.cli.doctor import doctor
from service.cli.evaluate import evaluate
from service.cli.jobs import jobs
from service.cli.keys import keys
from service.cli.model_add import add, measure
from service.cli.model_files import COMMANDS as MODEL_FILES
from service.cli.priors import models
from service.cli.remote import VARIABLE, refuse_for
from service.cli.restoring import COMMANDS
from service.cli.runtimes import COMMANDS as RUNTIMES
from service.cli.serve import serve
from service.cli.train import train

EPILOG = """\b
Exit codes:
  0    everything was restored
  1    a picture could not be restored; the others were
  2    the command line is wrong
  3    the prior, the device, the runtime or the server cannot be used
  130  interrupted; no file is left half-written

Errors are one line on standard error; PELLUCID_DEBUG=1 adds where they came from."""


class Exit(IntEnum):
    """How the program ends."""

    OK = 0
    FAILED = 1
    USAGE = 2
    PRIOR = 3
    INTERRUPTED = 130
    TERMINATED = 143


class Commands(click.Group):
    """A group whose errors are one line and an exit code, whoever calls it."""

    def main(self, args: Sequence[str] | None = None, *rest: Any, **extra: Any) -> NoReturn:
        """Run a command and leave with its exit code."""
        extra["standalone_mode"] = False
        try:
            code = super().main(args, *rest, **extra)
        except BaseException as error:
            code = report(error)
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            code = _without_reader()
        sys.exit(code if isinstance(code, int) else Exit.OK)


def report(error: BaseException) -> int:
    """Say in one line what went wrong; the exit code.

    Args:
        error: whatever ended the command.
    """
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else Exit.FAILED
    if os.environ.get("PELLUCID_DEBUG"):
        traceback.print_exception(error)
    code: int
    match error:
        case BrokenPipeError():
            return _without_reader()
        case KeyboardInterrupt() | click.Abort():
            code, message = Exit.INTERRUPTED, "interrupted"
        case click.exceptions.NoArgsIsHelpError():
            error.show()
            return Exit.USAGE
        case click.UsageError():
            command = error.ctx.command_path if error.ctx else "pellucid"
            code, message = Exit.USAGE, f"{error.format_message()} (see {command} --help)"
        case click.ClickException():
            code, message = error.exit_code, error.format_message()
        case ParameterError():
            code, message = Exit.USAGE, str(error)
        case PriorError():
            code, message = Exit.PRIOR, str(error)
        case RestoreError():
            code, message = Exit.FAILED, str(error)
        case ImportError():
            code, message = Exit.PRIOR, f"{error}; pellucid doctor says what is missing"
        case OSError():
            named = f"{error.filename}: {error.strerror}" if error.filename else str(error)
            code, message = Exit.FAILED, named
        case _:
            detail = str(error).strip().splitlines()
            code = Exit.FAILED
            what = f"{type(error).__name__}: {detail[0] if detail else 'no detail'}"
            message = f"unexpected {what}; PELLUCID_DEBUG=1 says where"
    print(f"pellucid: {' '.join(message.split())}", file=sys.stderr)
    return code


def _without_reader() -> int:
    """Whoever read our standard output has gone: say nothing more, not even when the interpreter ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return Exit.FAILED


def _terminated(number: int, frame: FrameType | None) -> None:
    """Leave through the `finally` blocks, which remove partial files."""
    sys.exit(Exit.TERMINATED)


@click.group(
    cls=Commands, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, "-V", "--version", prog_name="pellucid", message="%(prog)s %(version)s")
@click.option(
    "--server",
    metavar="URL",
    envvar=VARIABLE,
    help=f"Restore on this server instead of on this machine; the variable {VARIABLE} says the same. A server that "
    "wants a key finds it in PELLUCID_API_KEY.",
)
@click.pass_context
def cli(context: click.Context, server: str | None) -> None:
    """Restore photographs with a diffusion prior.

    IN is a file, a folder, a glob or - for standard input; OUT is a file, a folder or - for standard output.
    """
    if context.invoked_subcommand is not None:
        refuse_for(context, context.invoked_subcommand)
    if not os.environ.get("PELLUCID_DEBUG"):
        warnings.simplefilter("ignore")


for _command in (add, measure, *MODEL_FILES, *RUNTIMES):
    models.add_command(_command)
for _command in (*COMMANDS, bench, evaluate, jobs, serve, models, keys, train, doctor):
    cli.add_command(_command)


def main() -> NoReturn:
    """Entry point of the console script."""
    signal.signal(signal.SIGTERM, _terminated)
    try:
        cli.main(prog_name="pellucid")
    finally:
        # The system takes back everything at once; looking through it for cycles before took a third of a second.
        # Triton, which an export loads, would list on standard error what is left of it.
        if "triton" not in sys.modules:
            gc.freeze()
