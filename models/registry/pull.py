"""Fetching known priors into the user's private folder, and removing them."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from models.errors import DownloadError, NotPulledError
from models.registry.download import Fetched, check_online, fetch
from models.registry.facts import NAME, PriorFacts, check_files
from models.registry.places import WEIGHTS, installed, known_facts, prepare_private_folder, prior_facts, private_folder
from restore.errors import CorruptWeightsError, PriorError

HUB, MIRRORS = "PELLUCID_HUB", "PELLUCID_MIRRORS"
#: Kept free beside what is fetched.
SPARE_BYTES = 1 << 28


@dataclass(frozen=True)
class Progress:
    """How far a pull is.

    Attributes:
        file: the one being fetched.
        bytes: of it that are there.
        total: of it; None while unknown.
    """

    file: str
    bytes: int
    total: int | None


OnProgress = Callable[[Progress], None]


def pull(
    name: str,
    *,
    force: bool = False,
    mirrors: tuple[str, ...] = (),
    on_progress: OnProgress | None = None,
    on_wait: Callable[[], None] | None = None,
) -> PriorFacts:
    """Fetch a known prior; one that is there is verified and kept.

    Two pulls of one prior do not meet: the second waits, and finds the first one's. A pull that was killed goes on
    where it ended. Nothing has the prior's name before every file was verified and found to hold no code.

    Args:
        name: of the catalogue.
        force: fetch anew what is there.
        mirrors: URLs of folders with NAME/FILE in them, tried first; then those of PELLUCID_MIRRORS (with spaces
            between), then the entry's own source.
        on_progress: told of every piece.
        on_wait: called when another process is pulling the same prior.

    Raises:
        UnknownPriorError: no such entry.
        DownloadError: see `models.registry.download.fetch`; or no room.
        CorruptWeightsError: what came is not the registered file, or damaged.
        UnsafeWeightsError: it holds code.
    """
    known = known_facts(name)
    folder = prepare_folder()
    with locked(folder, name, on_wait):
        if not force and name in installed():
            facts = prior_facts(name)
            check_files(facts)
            return facts
        check_online()
        staging = folder / f".pull-{name}"
        if force:
            shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(mode=0o700, exist_ok=True)
        _check_room(known, staging)
        fetched = {file: _fetch_file(known, file, staging, mirrors, on_progress) for file in known.files}
        _check_content(known, staging)
        return publish(_pulled(known, fetched), staging)


def remove(name: str) -> PriorFacts:
    """Remove one of the user's own priors, and what an unfinished pull of it left.

    Raises:
        UnknownPriorError: no such prior.
        NotPulledError: it is not on this machine.
        PriorError: it came with the package.
    """
    if name in installed(WEIGHTS) and not (private_folder() / f"{name}.json").is_file():
        raise PriorError(f"the prior {name!r} came with the package and cannot be removed")
    folder = prepare_folder()
    staging = folder / f".pull-{name}"
    if not (folder / f"{name}.json").is_file():
        if NAME.match(name) and staging.is_dir():
            shutil.rmtree(staging)
            raise NotPulledError(f"the prior {name!r} was not there; what an unfinished pull had left was removed")
        prior_facts(name)
    with locked(folder, name):
        facts = prior_facts(name)
        (folder / f"{name}.json").unlink(missing_ok=True)
        shutil.rmtree(folder / name, ignore_errors=True)
        shutil.rmtree(staging, ignore_errors=True)
    return facts


def publish(facts: PriorFacts, staging: Path) -> PriorFacts:
    """Give a folder of verified files the prior's name; the description is last, and makes it installed.

    Args:
        facts: with the digests of all files.
        staging: beside where the folder goes.
    """
    folder = staging.parent
    description = folder / f"{facts.name}.json"
    description.unlink(missing_ok=True)
    target = folder / facts.name
    if target.exists():
        shutil.rmtree(target)
    staging.replace(target)
    return describe(replace(facts, folder=target))


def describe(facts: PriorFacts) -> PriorFacts:
    """Write the description beside the folder of a prior, all of it or nothing; it makes the prior installed.

    Args:
        facts: with the digests of all files.
    """
    folder = facts.folder.parent
    description = folder / f"{facts.name}.json"
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=f".{facts.name}", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump(facts.record(), stream, indent=2)
            stream.write("\n")
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).replace(description)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return PriorFacts.read(description)


def prepare_folder() -> Path:
    """The private folder, made where it is missing; nobody else may look into it or change it.

    Raises:
        PriorError: it cannot be made, is somebody else's, or cannot be closed to others.
    """
    try:
        folder = prepare_private_folder()
        found = folder.stat()
        if hasattr(os, "getuid") and found.st_uid != os.getuid():
            raise PriorError(f"{folder} belongs to somebody else; set PELLUCID_PRIORS to a folder of your own")
        if os.name == "posix" and stat.S_IMODE(found.st_mode) & 0o077:
            folder.chmod(0o700)
    except OSError as error:
        raise PriorError(f"{private_folder()} cannot be used for priors ({error.strerror or error})") from error
    return folder


@contextmanager
def locked(folder: Path, name: str, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
    """Alone with a prior, among all processes of this machine."""
    from filelock import FileLock, Timeout

    lock = FileLock(folder / f".{name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if on_wait is not None:
            on_wait()
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def urls(facts: PriorFacts, file: str, mirrors: tuple[str, ...] = ()) -> list[str]:
    """Where a file may lie, in the order in which to try."""
    asked = [*mirrors, *os.environ.get(MIRRORS, "").split()]
    found = [f"{prefix.rstrip('/')}/{facts.name}/{quote(file)}" for prefix in asked]
    source = facts.source
    if hub := source.get("hub"):
        base = os.environ.get(HUB, "https://huggingface.co").rstrip("/")
        found.append(f"{base}/{hub}/resolve/{source.get('revision', 'main')}/{quote(file)}")
    if url := source.get("url"):
        found.append(f"{url.rstrip('/')}/{quote(file)}")
    return found + list(facts.files[file].get("mirrors", ()))


def _fetch_file(
    facts: PriorFacts, file: str, staging: Path, mirrors: tuple[str, ...], on_progress: OnProgress | None
) -> Fetched:
    target, entry = staging / file, facts.files[file]
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    places = urls(facts, file, mirrors)
    if not places:
        raise DownloadError(f"the prior {facts.name!r} is on this machine only; there is nothing to fetch it from")

    def told(there: int, total: int | None) -> None:
        if on_progress is not None:
            on_progress(Progress(file, there, total))

    troubles: list[PriorError] = []
    for url in places:
        try:
            return fetch(url, target, sha256=entry.get("sha256"), size=entry.get("bytes"), on_bytes=told)
        except (DownloadError, CorruptWeightsError) as error:
            troubles.append(error)
    if len(troubles) == 1:
        raise troubles[0]
    wrong = next((error for error in troubles if isinstance(error, CorruptWeightsError)), None)
    said = "; ".join(map(str, troubles))
    raise (CorruptWeightsError if wrong is not None else DownloadError)(said) from troubles[-1]


def _check_room(facts: PriorFacts, staging: Path) -> None:
    there = sum(path.stat().st_size for path in staging.rglob("*") if path.is_file())
    wanted = sum(entry.get("bytes") or 0 for entry in facts.files.values()) or 4 * facts.parameters
    free = shutil.disk_usage(staging).free
    if free < wanted - there + SPARE_BYTES:
        raise DownloadError(
            f"{facts.name} takes {wanted / 2**30:.1f} GiB, but only {free / 2**30:.1f} GiB are free at "
            f"{staging.parent}; make room, or set PELLUCID_PRIORS to a folder elsewhere"
        )


def _check_content(facts: PriorFacts, staging: Path) -> None:
    """Open every checkpoint as it will be opened: damaged files and code are found before they have a name."""
    from models.loaders import CHECKPOINTS
    from models.loaders.tensors import read_checkpoint

    for file in facts.files:
        if Path(file).suffix in CHECKPOINTS:
            try:
                read_checkpoint(staging / file)
            except PriorError:
                (staging / file).unlink()
                raise


def _pulled(known: PriorFacts, fetched: dict[str, Fetched]) -> PriorFacts:
    """The facts, with what is known only now: digests, sizes, and the commit behind a branch's name."""
    files: dict[str, dict[str, Any]] = {
        file: {"sha256": found.sha256, "bytes": found.bytes} for file, found in fetched.items()
    }
    source = dict(known.source)
    commits = {found.revision for found in fetched.values()} - {""}
    if source.get("hub") and len(commits) == 1 and re.fullmatch(r"[0-9a-f]{40}", next(iter(commits))):
        source["revision"] = commits.pop()
    return replace(known, files=files, source=source)


def unknown_hash(facts: PriorFacts) -> bool:
    """Whether somebody's word is taken for what the files are: their sha256 is known from the first pull on only."""
    return any(not entry.get("sha256") for entry in facts.files.values())
