"""The client of a server, for commands that ask one: loaded when it is needed, its errors in the program's words."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import click
from click.core import ParameterSource

#: Name of the group's option, and the variable that stands for it.
OPTION, VARIABLE = "--server", "PELLUCID_SERVER"
#: Commands that do not ask a server, whatever is set.
LOCAL_COMMANDS = frozenset({"bench", "evaluate", "serve", "models", "keys", "train", "doctor"})
#: Options of the restoring commands that are about this machine.
LOCAL_OPTIONS = {"device": "--device", "runtime": "--runtime", "tile": "--tile"}


class ServerError(click.ClickException):
    """A server that did not do what was asked."""


class NoServerError(ServerError):
    """A server that cannot be used at all."""

    exit_code = 3


def server_of(context: click.Context) -> str | None:
    """The address given with --server or PELLUCID_SERVER, as the group left it; None for this machine."""
    address = context.find_root().params.get("server")
    return str(address) if address else None


def refuse_for(context: click.Context, command: str) -> None:
    """Refuse --server where nothing is asked of a server; the variable is meant for the others.

    Raises:
        click.UsageError: it was given.
    """
    if command in LOCAL_COMMANDS and context.get_parameter_source("server") is ParameterSource.COMMANDLINE:
        raise click.UsageError(f"{command} is about this machine and takes no {OPTION}")


def refuse_local_options(context: click.Context) -> None:
    """Refuse options about this machine that were given although a server restores.

    Raises:
        click.UsageError: there is one.
    """
    named = _named(context)
    for name, option in LOCAL_OPTIONS.items():
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT:
            raise click.UsageError(f"{option} is about this machine: {named} restores on a server, which chooses")


def _named(context: click.Context) -> str:
    """How the server was chosen."""
    source = context.find_root().get_parameter_source("server")
    return OPTION if source is ParameterSource.COMMANDLINE else f"the variable {VARIABLE}"


def client_module() -> ModuleType:
    """`pellucid_client`, a distribution of its own that a machine without servers does without.

    Raises:
        NoServerError: it is not installed.
    """
    try:
        import pellucid_client
    except ImportError as error:
        missing = error.name or "pellucid_client"
        raise NoServerError(
            "asking a server needs the package pellucid-client, which lies in the folder client of Pellucid's sources: "
            f"pip install ./client (cannot import {missing})"
        ) from error
    return pellucid_client


@contextmanager
def worded() -> Iterator[None]:
    """What the client raises, as an error of the command line; the server's stable code stands in the message."""
    pellucid = client_module()
    try:
        yield
    except pellucid.PellucidError as error:
        raise (NoServerError if stops_everything(error) else ServerError)(str(error)) from error


def stops_everything(error: Exception) -> bool:
    """Whether the next picture would fail the same way: no server, no key, no such prior, no worker."""
    pellucid = client_module()
    nobody = (
        pellucid.APIConnectionError,
        pellucid.APIResponseError,
        pellucid.AuthenticationError,
        pellucid.PermissionDeniedError,
        pellucid.ServiceUnavailableError,
    )
    return isinstance(error, nobody) or getattr(error, "code", None) == "unknown_prior"


def described(error: Exception) -> tuple[str, str]:
    """A stable code, and what happened: the server's own words, or this machine's."""
    pellucid = client_module()
    code = getattr(error, "code", None)
    if isinstance(error, pellucid.JobError):
        return code or f"job_{error.job.state}", str(error)
    if isinstance(error, pellucid.APIStatusError):
        return code or f"http_{error.status_code}", str(error)
    if isinstance(error, pellucid.PellucidError):
        return "client", str(error)
    if isinstance(error, OSError) and code is None:
        return "unreadable_input", f"{error.filename}: {error.strerror}" if error.filename else str(error)
    return (code or "unexpected"), str(error)


def connect(address: str | None, **options: Any) -> Any:
    """A client that blocks; its address is this machine's port 8000 when none is given.

    Raises:
        ServerError: no client is installed, or no server can be at that address.
    """
    with worded():
        return client_module().Client(address, api_key=os.environ.get("PELLUCID_API_KEY"), **options)
