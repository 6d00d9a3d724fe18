"""What `pellucid doctor` says of a server on this machine, as the environment's settings describe it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

#: Some hundred pictures of 24 megapixels with their results.
LITTLE_SPACE = 2 * 2**30
#: Clients, workers and pictures of a busy server; the usual limit of 1024 is a few hundred slow clients.
FEW_DESCRIPTORS = 4096

Told = tuple[str, str, str]


def server() -> Iterator[Told]:
    """(state, subject, detail) of settings, data folder, stores, keys and limits."""
    from service.cli.serve import read_settings

    try:
        settings = read_settings({})
    except click.UsageError as error:
        yield "failure", "settings", error.format_message()
        return
    given = sum(name.upper().startswith("PELLUCID_") for name in os.environ)
    yield (
        "ok",
        "settings",
        f"valid, PELLUCID_ variables: {given}; a server would listen at {settings.host}:{settings.port}",
    )
    yield from _data_folder(settings)
    yield from _attempt("database", settings.database_url, _open_database)
    yield from _attempt("pictures", settings.blob_url, _open_pictures)
    if settings.api_keys_file is not None:
        yield from _attempt("API keys", str(settings.api_keys_file), _read_keys)
    yield from _descriptors()


def _data_folder(settings: Any) -> Iterator[Told]:
    folder: Path = settings.data_dir
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        advice = "set PELLUCID_DATA_DIR, or give the server's user the folder"
        yield "failure", "data folder", f"{folder} cannot be written to; {advice}"
        return
    free = shutil.disk_usage(there).free
    told = f"{folder}, {free / 2**30:.1f} GiB free"
    if free < LITTLE_SPACE and settings.blob_url is None:
        yield "warning", "data folder", f"{told}; results are kept for {settings.retention_seconds:g} s"
    else:
        yield "ok", "data folder", told


def _attempt(subject: str, given: str | None, work: Callable[[str], str]) -> Iterator[Told]:
    """Use what a setting names; nothing is said of what is not set."""
    if given is None:
        return
    try:
        told = work(given)
    except Exception as error:
        yield "failure", subject, f"{type(error).__name__}: {' '.join(str(error).split())}"
    else:
        yield "ok", subject, told


def _open_database(url: str) -> str:
    from sqlalchemy import create_engine, make_url, text

    engine = create_engine(make_url(url))
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))
    finally:
        engine.dispose()
    return f"{make_url(url).render_as_string()} answers"


def _open_pictures(url: str) -> str:
    from service.blobs import FsspecBlobStore

    store = FsspecBlobStore(url)
    reference = store.put(b"doctor", "trial")
    try:
        same = store.get(reference) == b"doctor"
    finally:
        store.delete(reference)
    if not same:
        raise OSError(f"{url} answers with other bytes than it was given")
    return f"{url} takes, gives and removes"


def _read_keys(path: str) -> str:
    from service.protection.keys import read

    return f"{path}, keys: {len(read(Path(path)))}"


def _descriptors() -> Iterator[Told]:
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < FEW_DESCRIPTORS:
        yield "warning", "descriptors", f"at most {hard}, each connection takes one; raise the hard limit (ulimit -Hn)"
    else:
        yield "ok", "descriptors", f"at most {'any number' if hard == resource.RLIM_INFINITY else hard}"
