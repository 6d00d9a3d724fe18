"""API keys: made here, shown once, kept as hashes in a file, compared in constant time.

A key is `plk_ID_SECRET` with a secret of 256 random bits, so one round of SHA-256 is enough: there is no dictionary to
try. The file is JSON, {"keys": [{"id", "name", "scopes", "sha256", "created"}]}, mode 0600; it is read again when it
changes, so that a removed key stops working without a restart.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

_KEY = re.compile(r"plk_([0-9a-f]{12})_([A-Za-z0-9_-]{43})\Z")
_CHECK_SECONDS = 1.0
"""Between looks at the file's time of change."""


class Scope(StrEnum):
    """What a key allows: to submit, to see and cancel its own jobs, to read metrics and manage priors."""

    RESTORE = "restore"
    JOBS = "jobs"
    ADMIN = "admin"


@dataclass(frozen=True)
class Principal:
    """Who calls.

    Attributes:
        id: of the key; "" for anyone, where there is no authentication.
        scopes: what the key allows.
        name: as the operator called it.
    """

    id: str
    scopes: frozenset[Scope]
    name: str = ""


ANYONE = Principal("", frozenset(Scope))
"""The caller where there is no authentication."""


class KeyFileError(ValueError):
    """The file of keys cannot be used; the message names it and says why."""


class Keys:
    """The keys of a file.

    Args:
        path: of the file.

    Raises:
        KeyFileError: missing or malformed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._looked = time.monotonic()
        self._stamp = _stamp(path)
        self._keys = {entry["id"]: entry for entry in read(path)}

    def authenticate(self, key: str) -> Principal | None:
        """Whose key this is; None for one that is unknown, malformed or removed."""
        self._reload()
        match = _KEY.match(key)
        # The same work whether the id exists or not.
        entry = self._keys.get(match[1]) if match else None
        expected = entry["sha256"] if entry else "0" * 64
        if not hmac.compare_digest(digest(key), expected) or entry is None:
            return None
        return Principal(entry["id"], frozenset(Scope(s) for s in entry["scopes"]), entry["name"])

    def _reload(self) -> None:
        now = time.monotonic()
        if now - self._looked < _CHECK_SECONDS:
            return
        self._looked = now
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return
        try:
            self._keys = {entry["id"]: entry for entry in read(self._path)}
        except KeyFileError:
            self._keys = {}  # a file that cannot be read lets nobody in
        self._stamp = stamp


def digest(key: str) -> str:
    """What is stored of a key."""
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()


def read(path: Path) -> list[dict[str, Any]]:
    """The entries of a file.

    Raises:
        KeyFileError: missing or malformed.
    """
    try:
        entries = json.loads(path.read_text())["keys"]
        for entry in entries:
            [Scope(s) for s in entry["scopes"]]
            if not re.fullmatch(r"[0-9a-f]{64}", entry["sha256"]) or not re.fullmatch(r"[0-9a-f]{12}", entry["id"]):
                raise ValueError("an id or a hash is malformed")
            str(entry["name"])
    except FileNotFoundError:
        raise KeyFileError(f"{path}: no such file; make one with: pellucid keys new {path}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise KeyFileError(f"{path}: is no file of API keys ({error})") from error
    found: list[dict[str, Any]] = entries
    return found


def add(path: Path, name: str, scopes: Iterable[Scope]) -> str:
    """Make a key, add its hash to a file (a new one where there is none) and return it; it cannot be shown again.

    Raises:
        KeyFileError: the file exists and is malformed.
    """
    entries = read(path) if path.exists() else []
    key = f"plk_{secrets.token_hex(6)}_{secrets.token_urlsafe(32)}"
    entries.append(
        {
            "id": key.split("_")[1],
            "name": name,
            "scopes": sorted(scopes),
            "sha256": digest(key),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        }
    )
    _write(path, {"keys": entries})
    return key


def remove(path: Path, key_id: str) -> bool:
    """Take a key out of a file; whether it was there."""
    entries = read(path)
    kept = [entry for entry in entries if entry["id"] != key_id]
    if len(kept) == len(entries):
        return False
    _write(path, {"keys": kept})
    return True


def _write(path: Path, content: Mapping[str, Any]) -> None:
    """All or nothing, readable by its owner only."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(handle, "w") as file:
            json.dump(content, file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def _stamp(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return (0, 0)
    return found.st_mtime_ns, found.st_ino
