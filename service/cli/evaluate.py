"""`pellucid evaluate`: score restored pictures against references."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

#: Names of `restore.evaluate.scoring.METRICS`.
METRIC_NAMES = ("psnr", "psnr_y", "ssim", "ssim_y", "lpips", "niqe", "fid", "frechet_efficientnet")

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("results", type=click.Path(path_type=Path))
@click.argument("references", type=click.Path(path_type=Path))
@click.option("--metric", "metrics", type=click.Choice(METRIC_NAMES), multiple=True,
              help="Compute this one; may be repeated.  [default: all]")  # fmt: skip
@click.option("--crop", type=click.IntRange(min=0), default=0, show_default=True,
              help="Pixels ignored at every side; super-resolution papers take the scale.")  # fmt: skip
@click.option("--lpips", type=_FILE, help="LPIPS weights.  [default: metrics/ in PELLUCID_DATASETS]")
@click.option("--inception", type=_FILE, help="Weights of FID's Inception.  [default: metrics/ in PELLUCID_DATASETS]")
@click.option("--device", default="cpu", show_default=True, help="Where LPIPS and Frechet distances compute.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path),
              help="Folder for evaluation.json (every picture), .md, .svg and .png.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON with every picture's scores instead of the table.")
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
def evaluate(
    results: Path,
    references: Path,
    metrics: tuple[str, ...],
    crop: int,
    lpips: Path | None,
    inception: Path | None,
    device: str,
    out: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Score RESULTS against REFERENCES: two files, or two folders with pictures of the same names.

    PSNR, SSIM (both also on luma) and NIQE are computed as BasicSR does, LPIPS is version 0.1 on AlexNet. What cannot
    be computed for want of weights or packages is named. Ends with 1 when a pair could not be compared.
    """
    from tqdm import tqdm

    from restore.evaluate import report, scoring

    settings = scoring.Settings(metrics or METRIC_NAMES, crop, lpips, inception, device)
    with tqdm(unit="picture", disable=True if quiet else None, leave=False, dynamic_ncols=True) as bar:

        def advance(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        evaluation = scoring.evaluate(results, references, settings, advance)
    if out is not None:
        report.write(evaluation, out)
    if as_json:
        click.echo(json.dumps(report.as_json(evaluation), indent=2, allow_nan=False))
    else:
        click.echo(report.table(evaluation), nl=False)
    sys.exit(1 if evaluation.failed else 0)
