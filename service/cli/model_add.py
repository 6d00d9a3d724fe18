"""`pellucid models add`: a checkpoint of one's own becomes a prior."""

from __future__ import annotations

import json
from pathlib import Path

import click

from service.cli.measuring import measuring, say_gains
from service.cli.model_files import OPTION, described, read_options

PHOTOGRAPHS = click.option(
    "--photographs",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Pictures like yours to test and measure it on.  [default: three that come with pellucid]",
)
DEVICE = click.option("--device", default="auto", show_default=True, help="Where to test it.")
LEVELS = click.option(
    "--levels",
    type=click.IntRange(2, 64),
    help="Noise levels of its error table; 4 will do for a slow one.  [default: 8]",
)


@click.command()
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("--name", required=True, help="How it will be called: lower-case letters, digits, '.', '_', '-'.")
@OPTION
@click.option("--licence", default="unknown", show_default=True, help="Of its weights, as its author says.")
@PHOTOGRAPHS
@DEVICE
@LEVELS
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing meanwhile.")
def add(
    path: Path,
    name: str,
    options: tuple[str, ...],
    licence: str,
    photographs: Path | None,
    device: str,
    levels: int | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Make the file or folder PATH a prior of your own.

    It is inspected, tested (denoising photographs must beat leaving them as they are), its error is measured at each
    noise level, and its files are copied. Safetensors and PyTorch files without code are read: diffusers, OpenAI's
    guided-diffusion, improved-diffusion and consistency models, EDM. So are ONNX files of denoisers, as `pellucid
    models export` writes them.
    """
    from models.registry.add import add as register

    def say(words: str) -> None:
        if not quiet and not as_json:
            click.echo(f"pellucid: {words}", err=True)

    added = register(
        path,
        name,
        options=read_options(options),
        licence=licence,
        photographs=photographs,
        device=device,
        levels=levels,
        on_stage=say,
    )
    if as_json:
        click.echo(json.dumps({**added.facts.record(), "found": added.found}, indent=2))
        return
    click.echo(added.facts.name)
    for sentence in added.found:
        click.echo(f"    found       {sentence}")
    say_gains(added.test)
    for key, value in described(added.facts).items():
        if key not in ("commercial", "notes", "citation"):
            click.echo(f"    {key:<12}{value}")


@click.command()
@click.argument("name")
@PHOTOGRAPHS
@DEVICE
@LEVELS
@click.option("-q", "--quiet", is_flag=True, help="Say nothing meanwhile.")
def measure(name: str, photographs: Path | None, device: str, levels: int | None, quiet: bool) -> None:
    """Test a prior that was pulled, and measure its error at each noise level.

    Restorations weigh a measured prior better against the picture.
    """
    from models.registry.measuring import measure as test_and_measure

    with measuring(quiet) as on_call:
        facts, test = test_and_measure(name, photographs=photographs, device=device, levels=levels, on_call=on_call)
    click.echo(facts.name)
    say_gains(test)
