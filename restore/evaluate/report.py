"""An evaluation as a table, as JSON and as a plot."""

from __future__ import annotations

import json
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from restore.errors import OutputError, RuntimeUnavailableError
from restore.evaluate.scoring import METRICS, Evaluation, finite
from restore.images.writing import write_atomically

#: File formats of the plot.
PLOTS = ("svg", "png")


def table(evaluation: Evaluation, images: bool = False) -> str:
    """Markdown: every metric's mean, median and worst; what could not be computed and why.

    Args:
        evaluation: what to show.
        images: add a row for every picture.
    """
    lines = ["| metric | better | mean | median | worst | pictures |", "|---|---|---|---|---|---|"]
    for name, found in evaluation.summary().items():
        metric = METRICS[name]
        better = "higher" if metric.higher else "lower"
        if "value" in found:
            lines.append(f"| {metric.label} | {better} | {found['value']:.{metric.digits}f} | - | - | the set |")
            continue
        cells = " | ".join(f"{found[key]:.{metric.digits}f}" for key in ("mean", "median", "worst"))
        lines.append(f"| {metric.label} | {better} | {cells} | {found['pictures']} |")
    if images:
        lines += ["", *_rows(evaluation)]
    notes = [f"{METRICS[name].label}: not computed: {why}" for name, why in evaluation.missing.items()]
    notes += evaluation.warnings
    notes += [f"{entry['name']}: not compared: {entry['error']}" for entry in evaluation.failed]
    return "\n".join(lines) + "".join(f"\n{'' if i else chr(10)}- {note}" for i, note in enumerate(notes)) + "\n"


def _rows(evaluation: Evaluation) -> list[str]:
    shown = [METRICS[name] for name in evaluation.settings.metrics if evaluation.values(name)]
    lines = ["| picture | " + " | ".join(m.label for m in shown) + " |", "|---" * (len(shown) + 1) + "|"]
    for entry in evaluation.images:
        if "error" not in entry:
            cells = ["-" if entry.get(m.name) is None else f"{entry[m.name]:.{m.digits}f}" for m in shown]
            lines.append(f"| {entry['name']} | " + " | ".join(cells) + " |")
    return lines


def as_json(evaluation: Evaluation) -> dict[str, Any]:
    """JSON-ready: settings, summary, scores of the set, one entry a picture; infinity becomes None."""
    return {
        "crop": evaluation.settings.crop,
        "metrics": list(evaluation.settings.metrics),
        "summary": {
            name: {key: finite(value) for key, value in found.items()} for name, found in evaluation.summary().items()
        },
        "missing": evaluation.missing,
        "warnings": evaluation.warnings,
        "images": [{key: finite(value) for key, value in entry.items()} for entry in evaluation.images],
    }


def plot(evaluation: Evaluation, path: Path) -> None:
    """Each metric's scores from worst to best, with their mean; the suffix chooses the format.

    Raises:
        RuntimeUnavailableError: matplotlib, of the extra `eval`, is not installed.
    """
    if find_spec("matplotlib") is None:
        raise RuntimeUnavailableError("plots need matplotlib: install pellucid[eval]")
    figure_class = import_module("matplotlib.figure").Figure
    import_module("matplotlib.backends.backend_agg")
    rc_context = import_module("matplotlib").rc_context
    drawn = [METRICS[name] for name in evaluation.settings.metrics if any(map(_drawable, evaluation.values(name)))]
    figure = figure_class(figsize=(3.2 * max(len(drawn), 1), 3.0), layout="constrained")
    for index, metric in enumerate(drawn):
        axis = figure.add_subplot(1, len(drawn), index + 1)
        values = sorted((v for v in evaluation.values(metric.name) if _drawable(v)), reverse=not metric.higher)
        axis.plot(range(1, len(values) + 1), values, "o-", markersize=3)
        axis.axhline(sum(values) / len(values), color="grey", linestyle="--")
        axis.set(title=metric.label, xlabel="pictures, worst first")
        axis.grid(alpha=0.3)
    # Without a date and with fixed ids the same numbers give the same file.
    with rc_context({"svg.hashsalt": "pellucid"}):
        figure.savefig(path, dpi=120, metadata={"Date": None} if path.suffix == ".svg" else None)


def _drawable(value: float) -> bool:
    return finite(value) is not None


def write(evaluation: Evaluation, folder: Path) -> list[Path]:
    """Write evaluation.json, evaluation.md, evaluation.svg and evaluation.png; the files written.

    Without matplotlib there is no plot, and a warning in the other two.

    Raises:
        OutputError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made ({error.strerror})") from error
    written = []
    for suffix in PLOTS:
        path = folder / f"evaluation.{suffix}"
        try:
            plot(evaluation, path)
        except RuntimeUnavailableError as error:
            evaluation.warnings.append(str(error))
            break
        written.append(path)
    texts = {
        "json": json.dumps(as_json(evaluation), indent=2, allow_nan=False) + "\n",
        "md": "# Evaluation\n\n" + table(evaluation, images=True),
    }
    for suffix, text in texts.items():
        path = folder / f"evaluation.{suffix}"
        write_atomically(path, text.encode())
        written.append(path)
    return written
