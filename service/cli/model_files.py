"""`pellucid models show|pull|convert|remove`: the files of priors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from restore.errors import ParameterError
from service.cli.measuring import MEASURE, measuring, say_gains

if TYPE_CHECKING:
    from models.loaders.loaded import LoadOptions
    from models.registry.facts import PriorFacts

OPTION = click.option(
    "--option",
    "options",
    metavar="KEY=VALUE",
    multiple=True,
    help="What the checkpoint does not say: native_size, class_label, heads, noise_schedule, ... (docs/priors.md).",
)


@click.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def show(name: str, as_json: bool) -> None:
    """Tell all that is known of a prior, installed or not."""
    from models.registry import installed, known_facts, prior_facts

    there = name in installed()
    facts = prior_facts(name) if there else known_facts(name)
    if as_json:
        click.echo(json.dumps({**facts.record(), "installed": there}, indent=2))
        return
    click.echo(f"{facts.name}{'' if there else ' (not on this machine)'}")
    for key, value in described(facts).items():
        click.echo(f"    {key:<12}{value}")


@click.command()
@click.argument("name")
@click.option("--force", is_flag=True, help="Fetch it anew even if it is there.")
@click.option("--mirror", "mirrors", metavar="URL", multiple=True, help="A folder with NAME/FILE in it, tried first.")
@MEASURE
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
def pull(name: str, force: bool, mirrors: tuple[str, ...], wanted: bool, quiet: bool) -> None:
    """Fetch a known prior; go on where an earlier pull ended. Then it is tested and measured, unless it was.

    PELLUCID_MIRRORS lists more mirrors, PELLUCID_HUB another address of the hub, PELLUCID_PRIORS the folder for priors;
    with PELLUCID_OFFLINE=1 no connection is opened.
    """
    from models.registry import known_facts
    from models.registry.pull import Progress, unknown_hash
    from models.registry.pull import pull as fetch

    known = known_facts(name)
    bar = _Bar(quiet)

    def told(progress: Progress) -> None:
        bar.show(progress.file, progress.bytes, progress.total)

    def waiting() -> None:
        click.echo(f"pellucid: another process is pulling {name}; waiting for it", err=True)

    try:
        facts = fetch(name, force=force, mirrors=mirrors, on_progress=told, on_wait=waiting)
    finally:
        bar.close()
    click.echo(f"{facts.name}: {facts.digest} in {facts.folder}")
    if unknown_hash(known) and not quiet:
        click.echo(
            "pellucid: nobody had published the sha256 of every file; they are registered as they came", err=True
        )
    if facts.measured:
        return
    if wanted:
        _measure(name, quiet)
    elif not quiet:
        click.echo(f"pellucid: not measured; pellucid models measure {name} does it", err=True)


def _measure(name: str, quiet: bool) -> None:
    from models.errors import SelfTestError
    from models.registry.measuring import measure

    try:
        with measuring(quiet) as on_call:
            _, test = measure(name, on_call=on_call)
    except SelfTestError as error:
        raise SelfTestError(
            f"{error}. It was fetched and stays, unmeasured; pellucid models measure {name} --photographs FOLDER "
            "tests it on pictures like yours"
        ) from error
    say_gains(test)


@click.command()
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.argument("target", type=click.Path(path_type=Path))
@OPTION
@MEASURE
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
def convert(source: Path, target: Path, options: tuple[str, ...], wanted: bool, quiet: bool) -> None:
    """Write the checkpoint SOURCE as a folder TARGET: configuration and safetensors, nothing left to guess.

    What has diffusers' own architecture opens in diffusers as well. What was written is tested and measured.
    """
    from models.errors import SelfTestError
    from models.loaders import load
    from models.loaders.converted import save
    from models.registry.measuring import measure_folder

    loaded = load(source, target.name, read_options(options))
    save(loaded, target)
    for sentence in loaded.found:
        click.echo(f"found: {sentence}")
    for sentence in loaded.assumed:
        click.echo(f"assumed: {sentence}")
    click.echo(f"{target}: {loaded.family}, {loaded.parameters:,} parameters")
    if not wanted:
        return
    try:
        with measuring(quiet) as on_call:
            test = measure_folder(target, on_call=on_call)
    except SelfTestError as error:
        raise SelfTestError(f"{error}. It was written, unmeasured") from error
    say_gains(test)


@click.command()
@click.argument("name")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def remove(name: str, yes: bool) -> None:
    """Remove a prior that was pulled or added, with its files."""
    from models.registry import prior_facts
    from models.registry.pull import remove as take_out

    if not yes:
        facts = prior_facts(name)
        click.confirm(f"Remove {facts.folder} ({_size(facts.bytes)})?", abort=True, err=True)
    click.echo(f"{take_out(name).name}: removed")


def read_options(pairs: tuple[str, ...]) -> LoadOptions:
    """KEY=VALUE pairs, values as in JSON or words, as options of a loader.

    Raises:
        ParameterError: no such option, or another type.
    """
    from models.loaders.loaded import LoadOptions

    values: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals:
            raise ParameterError(f"--option {pair}: KEY=VALUE is needed")
        try:
            values[key] = json.loads(text)
        except ValueError:
            values[key] = text
    return LoadOptions.parse(values)


def described(facts: PriorFacts) -> dict[str, str]:
    """What a person wants to know of a prior, in words, by heading."""
    licence, source = facts.licence, facts.source
    hashes = all(entry.get("sha256") for entry in facts.files.values())
    rows = {
        "family": facts.family,
        "tasks": ", ".join(facts.tasks),
        "parameters": f"{facts.parameters:,}",
        "licence": f"code {licence.get('code', 'unknown')}; weights {licence.get('weights', 'unknown')}",
        "commercial": f"use: {licence.get('commercial', 'unclear')}",
        "source": source.get("hub") or source.get("url") or source.get("path") or "this package",
        "revision": source.get("revision", ""),
        "files": ", ".join(facts.files),
        "bytes": _size(facts.bytes),
        "measured": "" if not facts.digest or facts.scale else "yes" if facts.measured else _unmeasured(facts.name),
        "digest": facts.digest or "unknown until first pull",
        "hashes": "" if hashes or not facts.digest else "of some files unknown until first pull",
        "enlarges": f"{facts.scale} times, in {facts.steps} steps unless told otherwise" if facts.scale else "",
        "size": f"{facts.native_size} pixels, in tiles" if facts.native_size else "any",
        "sigma": f"{facts.sigma_min * 127.5:.3g} to {facts.sigma_max * 127.5:.4g} (0-255)",
        "prediction": f"{facts.prediction}; {facts.schedule}",
        "memory": f"about {facts.hints['memory_gib']:g} GiB (estimate)" if "memory_gib" in facts.hints else "",
        "cost": f"{facts.hints['teraflop_per_call']:g} Tflop a call on one tile"
        if "teraflop_per_call" in facts.hints
        else "",
        "citation": facts.citation,
        "notes": facts.notes,
        "assumed": "; ".join(facts.assumed),
    }
    return {key: value for key, value in rows.items() if value}


def _unmeasured(name: str) -> str:
    return f"no: restorations assume its error; pellucid models measure {name}"


def _size(size: int | None) -> str:
    return "unknown until first pull" if size is None else f"{size / 2**20:,.1f} MiB"


class _Bar:
    """Progress of one file after another."""

    def __init__(self, quiet: bool) -> None:
        self._quiet, self._file = quiet, ""
        self._bar: Any = None

    def show(self, file: str, there: int, total: int | None) -> None:
        """So many bytes of a file are there."""
        from tqdm import tqdm

        if self._quiet:
            return
        if file != self._file or self._bar is None:
            self.close()
            self._file = file
            self._bar = tqdm(total=total, desc=Path(file).name, unit="B", unit_scale=True, unit_divisor=1024)
        self._bar.update(there - self._bar.n)

    def close(self) -> None:
        """End the line."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


COMMANDS = (show, pull, convert, remove)
