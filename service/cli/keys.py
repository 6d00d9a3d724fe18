"""`pellucid keys`: make, list and remove the API keys of a server."""

from __future__ import annotations

from pathlib import Path

import click

_FILE = click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
_SCOPES = ("restore", "jobs", "admin")


@click.group()
def keys() -> None:
    """Make, list and remove API keys; PELLUCID_API_KEYS_FILE names their file to the server."""


@keys.command()
@_FILE
@click.option("--name", default="", help="Whose key it is.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(_SCOPES),
    default=("restore", "jobs"),
    show_default=True,
    help="What it allows: restore (submit), jobs (see and cancel its own), admin (metrics, priors).",
)
def new(file: Path, name: str, scopes: tuple[str, ...]) -> None:
    """Make a key and print it: only its hash is kept in FILE. A running server takes it within a second."""
    from service.protection.keys import KeyFileError, Scope, add

    try:
        click.echo(add(file, name, [Scope(s) for s in scopes]))
    except KeyFileError as error:
        raise click.ClickException(str(error)) from None


@keys.command("list")
@_FILE
def list_command(file: Path) -> None:
    """Show the ids, names and scopes of the keys in FILE."""
    from service.protection.keys import KeyFileError, read

    try:
        entries = read(file)
    except KeyFileError as error:
        raise click.ClickException(str(error)) from None
    for entry in entries:
        click.echo(f"{entry['id']}  {','.join(entry['scopes']):<20}  {entry.get('created', '')}  {entry['name']}")


@keys.command()
@_FILE
@click.argument("key_id", metavar="ID")
def remove(file: Path, key_id: str) -> None:
    """Take the key ID out of FILE. A running server refuses it within a second."""
    from service.protection.keys import KeyFileError
    from service.protection.keys import remove as take_out

    try:
        found = take_out(file, key_id)
    except KeyFileError as error:
        raise click.ClickException(str(error)) from None
    if not found:
        raise click.ClickException(f"{file}: holds no key {key_id}")
