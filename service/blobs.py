"""Where pictures lie: encoded files under opaque references, on disk or in object storage through fsspec."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from pathlib import Path
from typing import Protocol

import fsspec
from fsspec.implementations.local import LocalFileSystem

_REFERENCE = re.compile(r"[a-z]{1,16}/[0-9a-f]{32}")
_KIND = re.compile(r"[a-z]{1,16}")


class BlobStore(Protocol):
    """Encoded inputs and results. References are opaque, unguessable and hold no user input. Methods block."""

    def put(self, data: bytes, kind: str) -> str:
        """Store bytes durably (visible only when complete); `kind` ("input", "result", ...) starts the reference."""
        ...

    def get(self, reference: str) -> bytes:
        """The bytes.

        Raises:
            FileNotFoundError: no such blob.
        """
        ...

    def delete(self, reference: str) -> None:
        """Remove a blob; one that is gone already is no error."""
        ...

    def older_than(self, moment: float) -> list[str]:
        """References of blobs last written before a moment (seconds since 1970), those that were never finished too."""
        ...


class FsspecBlobStore:
    """`BlobStore` on any file system that fsspec knows.

    On the local disk a blob is written as `partial/...`, synced and renamed, in folders and files that are for this
    user alone (0700, 0600). Object stores write whole objects or none.

    Args:
        url: where, such as `/var/lib/pellucid/blobs` or `s3://bucket/pellucid` (which needs s3fs, and takes its
            credentials and AWS_ENDPOINT_URL from the environment).
    """

    def __init__(self, url: str) -> None:
        self.url = url
        # Others write into the same bucket: what was listed once must not be listed from memory again.
        self._files, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
        self._root = str(root).rstrip("/")
        self._local = isinstance(self._files, LocalFileSystem)
        if self._local:
            Path(self._root).mkdir(mode=0o700, parents=True, exist_ok=True)

    def put(self, data: bytes, kind: str) -> str:
        if not _KIND.fullmatch(kind):
            raise ValueError(f"kind {kind!r}: up to 16 letters a-z")
        reference = f"{kind}/{secrets.token_hex(16)}"
        if self._local:
            _write(Path(self._path(reference)), Path(self._path(f"partial/{secrets.token_hex(16)}")), data)
        else:
            self._files.pipe_file(self._path(reference), data)
        return reference

    def get(self, reference: str) -> bytes:
        data: bytes = self._files.cat_file(self._path(reference))
        return data

    def delete(self, reference: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._files.rm_file(self._path(reference))

    def older_than(self, moment: float) -> list[str]:
        found = []
        for path, entry in self._files.find(self._root, detail=True).items():
            reference = "/".join(path.split("/")[-2:])
            written = entry.get("mtime") or entry.get("LastModified")
            written = written.timestamp() if hasattr(written, "timestamp") else written
            if _REFERENCE.fullmatch(reference) and written is not None and written < moment:
                found.append(reference)
        return found

    def _path(self, reference: str) -> str:
        if not _REFERENCE.fullmatch(reference):
            raise FileNotFoundError(f"no blob {reference!r}")
        return f"{self._root}/{reference}"


def url_of(blobs: BlobStore) -> str:
    """Where workers in other processes find the same blobs.

    Raises:
        TypeError: only this process can.
    """
    if not isinstance(blobs, FsspecBlobStore):
        raise TypeError(f"workers open blobs by URL, which {type(blobs).__name__} has not")
    return blobs.url


def _write(path: Path, partial: Path, data: bytes) -> None:
    """Write a file that is there whole or not at all, whatever dies when."""
    for folder in (partial.parent, path.parent):
        if not folder.is_dir():
            folder.mkdir(mode=0o700, exist_ok=True)
            _sync(folder.parent)
    try:
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def _sync(folder: Path) -> None:
    if os.name == "nt":  # folders cannot be opened there, and NTFS journals renames
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
