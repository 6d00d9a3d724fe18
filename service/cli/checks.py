"""What is found out before any work: is the command line right, is there a picture, can its result be written."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from restore.errors import OutputError, UndecodableImageError
from service.cli.planning import Plan

#: What a task cannot do without.
NEEDS = {"deblur": "kernel", "inpaint": "mask"}


def check_options(task: str, options: dict[str, Any], plans: Sequence[Plan]) -> None:
    """What the command line alone can tell is wrong.

    Raises:
        click.UsageError: something is.
    """
    needed = NEEDS.get(task)
    if needed is not None and options.get(needed) is None:
        raise click.UsageError(f"{task} needs --{needed}")
    if plans[0].target is None:
        if options["as_json"]:
            raise click.UsageError("--json and a picture cannot both go to standard output: name a file for OUT")
        if sys.stdout.isatty():
            raise click.UsageError("standard output is a terminal; a picture belongs in a file or a pipe")
    if options["uncertainty"] is not None:
        if (options["samples"] or 1) < 2:
            raise click.UsageError("--uncertainty is the spread of samples: add --samples 8, say")
        for plan in plans:
            if plan.uncertainty is not None and plan.uncertainty.suffix.lower() not in (".png", ".npy"):
                raise click.UsageError(f"{plan.uncertainty}: an uncertainty map is written as .png or .npy")


def standard_input() -> bytes:
    """The picture that was piped in.

    Raises:
        click.UsageError: nobody pipes.
        UndecodableImageError: nothing came.
    """
    if sys.stdin.isatty():
        raise click.UsageError("standard input is a terminal: pipe a picture into it, or name a file for IN")
    data = sys.stdin.buffer.read()
    if not data:
        raise UndecodableImageError("standard input: nothing came in")
    return data


def check_target(plan: Plan, overwrite: bool) -> None:
    """Find out before the work whether its result can be written.

    Raises:
        OutputError: it cannot.
    """
    for target in (plan.target, plan.uncertainty):
        if target is None:
            continue
        if target.exists() and not overwrite and target.is_file():
            raise OutputError(f"{target} exists; --overwrite replaces it")
        if target.is_dir():
            raise OutputError(f"{target} is a folder; give a file name in it")
        folder = target.parent
        if not folder.exists() and not plan.may_make_folders:
            raise OutputError(f"{target}: the folder {folder} does not exist; create it first")
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        if not folder.is_dir():
            raise OutputError(f"{target}: {folder} is not a folder; choose another output")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise OutputError(f"{target}: no permission to write in {folder}; choose another output")


def make_folders(plan: Plan) -> None:
    """Make the folders of a result and its map, where that is wanted.

    Raises:
        OutputError: one cannot be made.
    """
    for target in (plan.target, plan.uncertainty):
        if target is not None and plan.may_make_folders:
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise OutputError(f"{target.parent}: cannot be made ({error.strerror})") from error
