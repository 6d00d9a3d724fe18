"""Figures of the benchmarks, as SVG and PNG."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure


@contextmanager
def figure(out: Path, name: str, size: tuple[float, float] = (7.0, 4.0)) -> Iterator[Figure]:
    """A figure to draw on, stored as NAME.svg and NAME.png when done."""
    drawn = Figure(figsize=size, layout="constrained")
    yield drawn
    out.mkdir(parents=True, exist_ok=True)
    # Without a date and with fixed ids the same numbers give the same file.
    with rc_context({"svg.hashsalt": "pellucid"}):
        drawn.savefig(out / f"{name}.svg", metadata={"Date": None})
        drawn.savefig(out / f"{name}.png", dpi=120)
