"""`pellucid models bench` and `pellucid models export`: priors on other runtimes than PyTorch."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from restore.errors import ParameterError
from service.cli.values import is_path

if TYPE_CHECKING:
    from models.loaders.loaded import LoadedPrior
    from models.runtime.measuring import Measured


def open_network(name: str | None) -> LoadedPrior:
    """An installed prior, or the one in a folder: what is written with a separator is a path.

    Raises:
        PriorError: it cannot be loaded.
    """
    from models.errors import UnsupportedNetworkError
    from models.registry import ONNX, open_folder, open_prior

    loaded = open_folder(Path(name)) if name is not None and is_path(name) else open_prior(name)
    if loaded.family == ONNX:
        raise UnsupportedNetworkError(f"{loaded.info.name} is an ONNX file already, which is run as it is")
    return loaded


@click.command("bench")
@click.argument("name", required=False)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option(
    "--runtimes", metavar="LIST", default="",
    help="Comma-separated, such as torch:bf16,openvino:bf16.  [default: what the device and this installation have]",
)  # fmt: skip
@click.option("--rounds", type=click.IntRange(3, 1000), default=7, show_default=True, help="Calls of each.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
def bench(name: str | None, device: str, runtimes: str, rounds: int, as_json: bool, quiet: bool) -> None:
    """Measure which runtime is the fastest for a prior on this machine, and remember it for --runtime auto.

    Every runtime's answers are compared with those of PyTorch in float32; what answers otherwise is never chosen. Takes
    about a minute the first time, when the prior is exported.
    """
    from models.registry import choose_device
    from models.runtime.measuring import measure, remember

    chosen = choose_device(device)
    loaded = open_network(name)
    wanted = [runtime.strip() for runtime in runtimes.split(",") if runtime.strip()]

    def tell(what: str) -> None:
        if not quiet:
            click.echo(f"pellucid: {what}", err=True)

    rows = measure(loaded.network, loaded.info, chosen, wanted, rounds=rounds, on_step=tell)
    # A choice among a few that were asked for is no answer to which one is the fastest.
    auto = None if wanted else remember(loaded.network, loaded.info, chosen, rows)
    if as_json:
        record = {"prior": loaded.info.name, "device": str(chosen), "auto": auto, "rows": [asdict(row) for row in rows]}
        click.echo(json.dumps(record, indent=2))
        return
    for line in table(rows):
        click.echo(line)
    if auto is not None:
        click.echo(f"--runtime auto is {auto} from now on for {loaded.info.name} on this machine")


def table(rows: list[Measured]) -> list[str]:
    """The measurements as lines of text."""
    lines = [f"{'runtime':<24}{'ms':>9}{'speedup':>9}{'dB lost':>9}{'start, s':>10}  remark"]
    for row in rows:
        numbers = [
            (row.seconds and 1e3 * row.seconds, 9, 1), (row.speedup, 9, 2), (row.psnr_lost, 9, 3), (row.start, 10, 1)
        ]  # fmt: skip
        cells = [f"{'-' if value is None else f'{value:.{digits}f}':>{width}}" for value, width, digits in numbers]
        lines.append(f"{row.choice:<24}{''.join(cells)}  {row.remark}".rstrip())
    return lines


@click.command("export")
@click.argument("name")
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--format", "kind", type=click.Choice(["onnx", "tensorrt"]), default="onnx", show_default=True)
@click.option("--precision", type=click.Choice(["fp32", "fp16", "bf16", "int8"]), default="fp32", show_default=True)
@click.option(
    "--calibration", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="FOLDER",
    help="Of photographs that int8 is calibrated on, 8 or more, better 30.",
)  # fmt: skip
@click.option("--tile", type=click.IntRange(min=16), help="Side of an engine's tiles.  [default: 256, or the prior's]")
@click.option("--max-batch", type=click.IntRange(1, 256), help="Most tiles in an engine's call.  [default: 16]")
@click.option("--device", default="auto", show_default=True, help="An engine's GPU: auto, cuda or cuda:N.")
@click.option("--overwrite/--no-overwrite", default=False, help="Replace existing files.  [default: refuse]")
@click.option("--json", "as_json", is_flag=True, help="Print the parity report.")
def export(
    name: str, out: Path, kind: str, precision: str, calibration: Path | None, tile: int | None,
    max_batch: int | None, device: str, overwrite: bool, as_json: bool,
) -> None:  # fmt: skip
    """Write a prior as a file for other runtimes: x [N, 3, H, W] in [-1, 1] plus noise and sigma [N] in, denoised out.

    The file is compared with PyTorch at several noise levels and sizes; the report is written beside it, OUT.json. One
    that answers otherwise is refused.
    """
    from models.export.report import report_path

    if kind == "onnx" and (tile or max_batch):
        raise click.UsageError("--tile and --max-batch are for --format tensorrt: an ONNX file takes any")
    if (precision == "int8") != (calibration is not None):
        raise click.UsageError("--precision int8 and --calibration belong together")
    refuse_existing([out, report_path(out)], overwrite)
    if kind == "tensorrt":
        say(_engine(name, out, precision, tile, max_batch, device), out, as_json)
        return
    from models.export import export_onnx

    loaded = open_network(name)
    photographs = [] if calibration is None else read_photographs(calibration)
    say(export_onnx(loaded.network, loaded.info, out, precision, photographs), out, as_json)


def _engine(
    name: str, out: Path, precision: str, tile: int | None, max_batch: int | None, device: str
) -> dict[str, Any]:
    from models.export.tensor_rt import export_tensorrt
    from models.registry import choose_device
    from models.runtime.tensor_rt import MAX_BATCH, load_module

    load_module()
    chosen = choose_device(device)
    loaded = open_network(name)
    return export_tensorrt(
        loaded.network, loaded.info, out, precision, device=chosen, tile=tile, max_batch=max_batch or MAX_BATCH
    )


#: Photographs of a calibration; the files of a large folder are not all read.
PHOTOGRAPHS = 40


def read_photographs(folder: Path) -> list[Any]:
    """Up to `PHOTOGRAPHS` pictures of a folder as uint8 arrays [H, W, 3], evenly chosen by name.

    Raises:
        ParameterError: there are none.
    """
    import numpy as np
    from PIL import Image, UnidentifiedImageError

    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp"))
    pictures = []
    for path in files[:: max(1, len(files) // PHOTOGRAPHS)][:PHOTOGRAPHS]:
        try:
            with Image.open(path) as picture:
                pictures.append(np.asarray(picture.convert("RGB")))
        except (OSError, UnidentifiedImageError) as error:
            raise ParameterError(f"{path} cannot be read ({error})") from error
    if not pictures:
        raise ParameterError(f"no photographs (.jpg, .png, .webp) in {folder}")
    return pictures


def refuse_existing(paths: list[Path], overwrite: bool) -> None:
    """Find out before the work whether the files may be written.

    Raises:
        ParameterError: one exists, or its folder does not.
    """
    for path in paths:
        if path.exists() and not overwrite:
            raise ParameterError(f"{path} exists; --overwrite replaces it")
        if not path.parent.is_dir():
            raise ParameterError(f"the folder {path.parent} does not exist; create it first")


def say(report: dict[str, Any], out: Path, as_json: bool) -> None:
    """What was exported and what it costs."""
    if as_json:
        click.echo(json.dumps(report, indent=2))
        return
    lost = ", ".join(f"{level}: {value:+.4f}" for level, value in report["psnr_lost"].items())
    click.echo(f"{out}: {report['prior']['name']}, {report['precision']}, {report['bytes'] / 1e6:.1f} MB")
    click.echo(f"sha256 {report['sha256']}")
    click.echo(f"dB lost by noise level (0-255): {lost}")
    if "safe_from" in report:
        kept, total = len(report["kept_in_float"]), report["convolutions"]
        click.echo(f"int8 is used from sigma {report['safe_from']:g} on; {kept} of {total} convolutions stay in float")


def fastest(device: str) -> tuple[str | None, str]:
    """What "auto" is for the default prior, None while nothing was measured, and the device.

    Raises:
        PriorError: no such device, or no prior.
    """
    from models.registry import choose_device, open_prior
    from models.runtime.measuring import remembered

    chosen = choose_device(device)
    found = remembered(open_prior().network, chosen)
    return (None if found is None else str(found["chosen"])), str(chosen)


COMMANDS = (bench, export)
