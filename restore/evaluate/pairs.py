"""Which restored file belongs to which reference."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from restore.errors import ParameterError
from restore.images.formats import SUFFIXES

#: What can be read; HEIC is read but not written.
READABLE = frozenset({*SUFFIXES, ".heic", ".heif"})


@dataclass(frozen=True)
class Pair:
    """A restored file and its reference; `name` is their path below the folders, without the suffix."""

    name: str
    result: Path
    reference: Path


def find_pairs(results: Path, references: Path) -> tuple[list[Pair], list[str]]:
    """Match files of one name, whatever their suffixes, in two folders (searched in depth), or take two files.

    Returns:
        (pairs in the order of their names, warnings about files without a partner).

    Raises:
        ParameterError: nothing there, a file against a folder, no pair at all, or two files of one name.
    """
    for path in (results, references):
        if not path.exists():
            raise ParameterError(f"{path}: no such file or folder")
    if results.is_dir() != references.is_dir():
        raise ParameterError(f"{results} and {references}: give two files, or two folders with files of the same names")
    if not results.is_dir():
        return [Pair(results.stem, results, references)], []
    found, wanted = _pictures(results), _pictures(references)
    pairs = [Pair(name, found[name], wanted[name]) for name in sorted(found.keys() & wanted.keys())]
    if not pairs:
        raise ParameterError(f"{results} and {references} hold no pictures of the same name")
    return pairs, [
        *_alone("no reference for", sorted(found.keys() - wanted.keys())),
        *_alone("no result for", sorted(wanted.keys() - found.keys())),
    ]


def _pictures(folder: Path) -> dict[str, Path]:
    """Paths by name."""
    named: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in READABLE or not path.is_file():
            continue
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name in named:
            raise ParameterError(f"{named[name]} and {path} have one name; which of the two counts?")
        named[name] = path
    return named


def _alone(what: str, names: list[str]) -> list[str]:
    if not names:
        return []
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return [f"{what} {', '.join(names[:5])}{more}"]
