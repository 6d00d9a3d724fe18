"""`pellucid models`: which priors are installed, and are their weights the registered ones."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from restore.errors import PriorError

WEIGHTS = click.option(
    "--weights",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A folder of released priors instead of the installed ones.",
)


@click.group()
def models() -> None:
    """List, fetch, add and verify priors."""


@models.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
@click.option("--known", is_flag=True, help="Those that can be pulled instead, a line each.")
@WEIGHTS
def list_command(as_json: bool, known: bool, weights: Path | None) -> None:
    """Show every installed prior."""
    rows = can_be_pulled() if known else installed(weights)
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    if not rows:
        click.echo("pellucid: no prior is installed; reinstall pellucid", err=True)
    for row in rows if known else ():
        here = "installed" if row["installed"] else ""
        commercial = f"commercial use: {row['licence']['commercial']}"
        click.echo(f"{row['name']:<28}{row['parameters'] / 1e6:>6,.0f} M  {commercial:<24}{here}".rstrip())
    for row in () if known else rows:
        default = " (default)" if row["default"] else ""
        click.echo(f"{row['name']}{default}")
        for key in ("family", "parameters", "tasks", "licence", "digest", "scores"):
            if row.get(key):
                click.echo(f"    {key:<11}{_shown(row[key])}")


@models.command("verify")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
@WEIGHTS
def verify_command(names: tuple[str, ...], as_json: bool, weights: Path | None) -> None:
    """Check weights against the digests they were registered with; all priors, or those named."""
    outcomes = [check(name, weights) for name in names or [row["name"] for row in installed(weights)]]
    if as_json:
        click.echo(json.dumps(outcomes, indent=2))
    for outcome in outcomes:
        if outcome["error"]:
            click.echo(f"pellucid: {outcome['error']}", err=True)
        elif not as_json:
            click.echo(f"{outcome['name']}: ok, {outcome['digest'] or 'no digest'}")
    if not outcomes:
        click.echo("pellucid: no prior is installed; reinstall pellucid", err=True)
    sys.exit(3 if not outcomes or any(outcome["error"] for outcome in outcomes) else 0)


def can_be_pulled() -> list[dict[str, Any]]:
    """Facts of the published priors of the catalogue, and whether they are installed."""
    from models.registry import installed, list_known

    there = installed()
    return [{**facts.record(), "installed": facts.name in there} for facts in list_known()]


def installed(weights: Path | None = None) -> list[dict[str, Any]]:
    """Facts of the shipped priors, then the names of those that other distributions offer.

    Args:
        weights: a folder of released priors; then only those in it.
    """
    from models.registry import DEFAULT, WEIGHTS, list_priors
    from restore.prior.registry import list_priors as entry_points

    rows: list[dict[str, Any]] = [
        {
            "name": facts.name,
            "default": facts.name == DEFAULT,
            "family": facts.family,
            "parameters": facts.parameters,
            "tasks": list(facts.tasks),
            "licence": facts.licence,
            "digest": facts.digest,
            "scores": facts.scores,
        }
        for facts in list_priors(weights or WEIGHTS)
    ]
    if weights is not None:
        return rows
    shipped = {row["name"] for row in rows}
    return rows + [{"name": name, "default": False} for name in entry_points() if name not in shipped]


def check(name: str, weights: Path | None = None) -> dict[str, Any]:
    """{"name", "digest", "error"} of one prior; another distribution's is verified by loading it."""
    from models.registry import WEIGHTS, verify
    from restore.prior.registry import list_priors as entry_points
    from restore.prior.registry import load_prior

    folder = weights or WEIGHTS
    shipped = {path.stem for path in folder.glob("*.json")}
    try:
        if weights is None and name in set(entry_points()) - shipped:
            digest = load_prior(name, device="cpu").info.digest
        else:
            digest = verify(name, folder).digest
    except PriorError as error:
        return {"name": name, "digest": None, "error": str(error)}
    return {"name": name, "digest": digest, "error": None}


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_shown(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else str(value)
