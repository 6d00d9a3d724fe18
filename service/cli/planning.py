"""From the command line's IN and OUT to one plan a picture."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

STANDARD = "-"
#: Read but not written: the result becomes PNG unless a format is named.
READ_ONLY = {".heic", ".heif"}


@dataclass(frozen=True)
class Plan:
    """One picture: where it comes from and where it goes.

    Attributes:
        source: a file; None for standard input.
        target: a file; None for standard output.
        uncertainty: where the uncertainty map goes, if anywhere.
        may_make_folders: OUT is a folder, to be made where it is missing; a single file's folder must exist.
    """

    source: Path | None
    target: Path | None
    uncertainty: Path | None = None
    may_make_folders: bool = False

    @property
    def name(self) -> str:
        """The source, for messages."""
        return STANDARD if self.source is None else str(self.source)


def plan_pictures(
    inputs: Sequence[str], output: str, format: str | None = None, uncertainty: str | None = None
) -> list[Plan]:
    """What is to be restored, in order.

    Several pictures, a folder, or an OUT that is a folder or ends in a separator make OUT a folder; a picture found
    inside a given folder keeps its place below it, and its suffix unless `format` says otherwise.

    Raises:
        click.UsageError: nothing matches, or IN and OUT do not go together.
    """
    if STANDARD in inputs and len(inputs) > 1:
        raise click.UsageError("standard input is one picture: give - alone")
    for text in inputs:
        if text != STANDARD and not Path(text).exists() and not glob.has_magic(text):
            raise click.UsageError(f"no such file or folder: {text}")
    from restore.images.formats import SUFFIXES, format_of

    if STANDARD in inputs:
        found: list[tuple[Path | None, Path]] = [(None, Path(f"stdin.{format or 'png'}"))]
        many = False
    else:
        known = SUFFIXES.keys() | READ_ONLY
        found = [item for text in inputs for item in _expand(text, known, Path(output))]
        many = len(found) > 1 or any(Path(text).is_dir() for text in inputs)
    if output == STANDARD:
        if many:
            raise click.UsageError(f"standard output takes one picture, not {len(found)}: give a folder")
        maps: list[Path | None] = [None if uncertainty is None else Path(uncertainty)]
        return [Plan(found[0][0], None, maps[0])]
    folder = many or Path(output).is_dir() or output.endswith(("/", os.sep))
    if not folder:
        asked = format_of(output)
        if format is not None and SUFFIXES[f".{format}"] != asked:
            raise click.UsageError(
                f"{output} asks for {asked.upper()} and --format for {format.upper()}: leave one out"
            )
        return [Plan(found[0][0], Path(output), None if uncertainty is None else Path(uncertainty))]
    if Path(output).exists() and not Path(output).is_dir():
        raise click.UsageError(f"{output} is a file; {len(found)} pictures need a folder")
    plans = []
    for source, relative in found:
        kind = SUFFIXES.get(relative.suffix.lower())
        keep = kind is not None and format in (None, kind)
        target = Path(output) / (relative if keep else relative.with_suffix(f".{format or 'png'}"))
        chart = None if uncertainty is None else Path(uncertainty)
        if chart is not None and many:
            chart /= relative.with_suffix(".png")
        plans.append(Plan(source, target, chart, may_make_folders=True))
    _refuse_collisions(plans)
    return plans


def _expand(text: str, known: set[str], output: Path) -> Iterator[tuple[Path, Path]]:
    """(file, path below OUT) of what one IN stands for."""
    path = Path(text)
    if path.is_dir():
        inside = list(_pictures_in(path, known, output))
        if not inside:
            raise click.UsageError(f"no pictures in {text}; looked for {' '.join(sorted(known))}")
        yield from inside
    elif path.exists():
        yield path, Path(path.name)
    else:
        matches = sorted(Path(match) for match in glob.glob(text, recursive=True))
        files = [match for match in matches if match.is_file()]
        if not files:
            raise click.UsageError(f"nothing matches {text!r}")
        yield from ((match, Path(match.name)) for match in files)


def _pictures_in(folder: Path, known: set[str], output: Path) -> Iterator[tuple[Path, Path]]:
    """Pictures anywhere in a folder, hidden ones aside, sorted; what an earlier run wrote into it is not read again."""
    written = output.resolve() if folder.resolve() in output.resolve().parents else None
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if any(part.startswith(".") for part in relative.parts) or path.suffix.lower() not in known:
            continue
        if written is not None and written in path.resolve().parents:
            continue
        if path.is_file():
            yield path, relative


def _refuse_collisions(plans: list[Plan]) -> None:
    seen: dict[Path, Plan] = {}
    for plan in plans:
        assert plan.target is not None
        other = seen.setdefault(plan.target, plan)
        if other is not plan:
            raise click.UsageError(f"{other.name} and {plan.name} would both become {plan.target}: restore them apart")
