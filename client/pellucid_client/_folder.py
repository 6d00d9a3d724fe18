"""A folder of pictures: what is to be done, and what came of it. The clients do it, several at a time."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pellucid_client._errors import InvalidInputError
from pellucid_client._image import SUFFIXES, BaseRestoredImage, write_whole
from pellucid_client._parameters import RestoreOptions

#: At a time: enough to keep a server's batches full, few enough to leave room for others.
CONCURRENCY = 4
#: Read but not written by the server.
READ_ONLY = {".heic", ".heif", ".bmp", ".ppm"}
FORMAT_OF = {suffix: name for name, suffixes in SUFFIXES.items() for suffix in suffixes}


@dataclass(frozen=True)
class FolderItem:
    """One picture of a folder, and what came of it.

    Attributes:
        source: the given file.
        target: where the restored one is.
        state: "restored", "skipped" (the target was there already) or "failed".
        error: why it failed.
        job_id, seed: of the restoration.
        timings: seconds by stage.
    """

    source: Path
    target: Path
    state: Literal["restored", "skipped", "failed"]
    error: Exception | None = None
    job_id: str | None = None
    seed: int | None = None
    timings: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class FolderProgress:
    """Handed to `on_progress` when a picture is done.

    Attributes:
        done, total: pictures.
        item: the one that was just done.
    """

    done: int
    total: int
    item: FolderItem


@dataclass(frozen=True)
class FolderResult:
    """What came of a folder.

    Attributes:
        items: one a picture, in the order of their names.
    """

    items: Sequence[FolderItem]

    @property
    def failed(self) -> Sequence[FolderItem]:
        """Those that failed."""
        return [item for item in self.items if item.state == "failed"]

    @property
    def restored(self) -> Sequence[FolderItem]:
        """Those that were restored now."""
        return [item for item in self.items if item.state == "restored"]

    def raise_for_failures(self) -> None:
        """Raise what went wrong, if anything did.

        Raises:
            ExceptionGroup: the errors, each with a note that names its picture.
        """
        errors = []
        for item in self.failed:
            assert item.error is not None
            item.error.add_note(str(item.source))
            errors.append(item.error)
        if errors:
            raise ExceptionGroup(f"{len(errors)} of {len(self.items)} pictures could not be restored", errors)


@dataclass(frozen=True)
class Plan:
    """One picture to be restored.

    Attributes:
        source, target: files.
        format: to ask for.
    """

    source: Path
    target: Path
    format: str


def plan(
    source: str | os.PathLike[str], target: str | os.PathLike[str], pattern: str, format: str | None
) -> list[Plan]:
    """The pictures anywhere in a folder, hidden ones aside, sorted, each with its place below the target.

    Raises:
        InvalidInputError: no folder, no pictures in it, or two of them would become one file.
    """
    root, out = Path(source), Path(target)
    if not root.is_dir():
        raise InvalidInputError(f"{root} is no folder")
    if format is not None and format not in SUFFIXES:
        raise InvalidInputError(f"{format!r} is no format: the server writes {', '.join(SUFFIXES)}")
    known = FORMAT_OF.keys() | READ_ONLY
    # What an earlier run wrote into the folder is not restored again.
    written = out.resolve() if root.resolve() in out.resolve().parents else None
    plans: list[Plan] = []
    seen: dict[Path, Path] = {}
    for path in sorted(root.rglob(pattern)):
        relative = path.relative_to(root)
        if (
            path.suffix.lower() not in known
            or any(part.startswith(".") for part in relative.parts)
            or not path.is_file()
        ):
            continue
        if written is not None and written in path.resolve().parents:
            continue
        kind = FORMAT_OF.get(path.suffix.lower())
        chosen = format or kind or "png"
        place = out / (relative if chosen == kind else relative.with_suffix(SUFFIXES[chosen][0]))
        other = seen.setdefault(place, path)
        if other is not path:
            raise InvalidInputError(f"{other} and {path} would both become {place}: restore them apart")
        plans.append(Plan(path, place, chosen))
    if not plans:
        raise InvalidInputError(f"no pictures in {root} ({pattern}); looked for {' '.join(sorted(known))}")
    return plans


def skipped(plan: Plan) -> FolderItem:
    """Its target is there already."""
    return FolderItem(plan.source, plan.target, "skipped")


def failed(plan: Plan, error: Exception) -> FolderItem:
    """It could not be restored."""
    return FolderItem(plan.source, plan.target, "failed", error)


def written(plan: Plan, image: BaseRestoredImage) -> FolderItem:
    """Write a restored picture to its place."""
    plan.target.parent.mkdir(parents=True, exist_ok=True)
    write_whole(plan.target, image.bytes)
    return FolderItem(plan.source, plan.target, "restored", None, image.job_id, image.seed, image.timings)


def options_for(options: RestoreOptions) -> RestoreOptions:
    """What each picture of a folder is restored with: in the background, unless told otherwise.

    Raises:
        InvalidInputError: an idempotency key, which names one restoration.
    """
    if "idempotency_key" in options:
        raise InvalidInputError("idempotency_key names one restoration; a folder has many")
    return {"priority": "batch", **options}
