"""One file from the outside: resumed where it broke off, and never taken for another one.

Bytes go to `NAME.part`, with the validator of what they are part of in `NAME.part.json`; they get the file's name when
the server's length and the expected size and sha256 are met. Proxies are those of the environment (HTTPS_PROXY,
HTTP_PROXY, ALL_PROXY, NO_PROXY).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.errors import DownloadError
from restore.errors import CorruptWeightsError

if TYPE_CHECKING:
    import httpx

OFFLINE = "PELLUCID_OFFLINE"
CONNECT_SECONDS, READ_SECONDS = 10.0, 60.0
MOST_REDIRECTS = 5
#: Connections that may break before a download is given up; each goes on where the last one ended.
TRIES = 5
#: Between two of them, doubled each time.
PAUSE_SECONDS = 0.5

#: Called with (bytes there, bytes in all or None).
OnBytes = Callable[[int, int | None], None]


@dataclass(frozen=True)
class Fetched:
    """What was fetched.

    Attributes:
        sha256: of the file.
        bytes: its size.
        revision: commit of the hub's repository that it is from; empty where the server tells none.
    """

    sha256: str
    bytes: int
    revision: str = ""


def check_online() -> None:
    """Refuse where no connection may be opened.

    Raises:
        DownloadError: PELLUCID_OFFLINE is set.
    """
    if os.environ.get(OFFLINE, "").strip().lower() not in ("", "0", "false", "no", "off"):
        raise DownloadError(f"{OFFLINE} is set: no connection is opened; unset it, or copy the files here by hand")


def check_url(url: str, digest_known: bool) -> None:
    """Refuse URLs that nothing protects: plain http serves for files whose sha256 is known, and on this machine.

    Raises:
        DownloadError: another scheme, or plain http to elsewhere.
    """
    import httpx

    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise DownloadError(f"{url} is no URL ({error})") from error
    local = parsed.host in ("localhost", "127.0.0.1", "::1")
    if parsed.scheme != "https" and not (parsed.scheme == "http" and (local or digest_known)):
        raise DownloadError(f"{url} is not https, and nobody could tell whether the file is the right one")


def fetch(
    url: str,
    target: Path,
    *,
    sha256: str | None = None,
    size: int | None = None,
    on_bytes: OnBytes | None = None,
    pause: float = PAUSE_SECONDS,
) -> Fetched:
    """Fetch a file; one that is there already is verified and kept.

    Args:
        url: where it lies.
        target: where it goes; its folder exists.
        sha256: what it must have, in hexadecimal; None where nobody published it: then what the server says of it
            (the hub's X-Linked-Etag) is demanded.
        size: in bytes, where it is known.
        on_bytes: told of progress.
        pause: seconds before the first new try, doubled with each.

    Raises:
        DownloadError: offline, refused, not found, unreachable, or broken off too often; what has arrived is kept.
        CorruptWeightsError: it is not the expected file; nothing is kept.
    """
    import httpx

    check_online()
    check_url(url, sha256 is not None)
    if target.is_file():
        return _verified(target, url, sha256, size, "")
    part = target.with_name(target.name + ".part")
    trouble: Exception | None = None
    with _client() as client:
        for attempt in range(TRIES):
            if attempt:
                time.sleep(pause * 2 ** (attempt - 1))
            before = part.stat().st_size if part.exists() else 0
            try:
                said = _transfer(client, url, part, size, sha256 is not None, on_bytes)
            except httpx.TransportError as error:
                trouble = error
                continue
            except _BusyError as error:
                trouble = error
                continue
            except OSError as error:
                raise DownloadError(f"{part} cannot be written ({error.strerror or error})") from error
            fetched = _verified(part, url, sha256 or said.sha256, size, said.revision)
            part.replace(target)
            _forget(part)
            return fetched
        after = part.stat().st_size if part.exists() else before
    raise DownloadError(
        f"{url} broke off {TRIES} times, the last time at {after:,} bytes ({_words(trouble)}); the same command "
        "goes on from there"
    ) from trouble


class _BusyError(Exception):
    """The server asks for patience."""


@dataclass(frozen=True)
class _Said:
    """What the server said of a file."""

    sha256: str | None
    revision: str


def _client() -> httpx.Client:
    import httpx

    timeout = httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS)
    # Bytes as they lie there: a compressed body has no ranges.
    headers = {"Accept-Encoding": "identity", "User-Agent": "pellucid"}
    try:
        return httpx.Client(timeout=timeout, headers=headers, follow_redirects=False)
    except (ValueError, ImportError) as error:
        raise DownloadError(f"the proxy of the environment cannot be used ({error})") from error


def _transfer(
    client: httpx.Client, url: str, part: Path, size: int | None, known: bool, on_bytes: OnBytes | None
) -> _Said:
    """Bring `part` to its full length over one connection."""
    there = part.stat().st_size if part.exists() else 0
    validator = _validator(part)
    headers = {"Range": f"bytes={there}-", "If-Range": validator} if there and validator else {}
    response, said = _opened(client, url, headers, known)
    try:
        if response.status_code == 416:
            if response.headers.get("content-range", "") == f"bytes */{there}":
                return said  # everything had arrived before
            _forget(part)
            raise _BusyError("the server has fewer bytes than have arrived")
        if response.status_code != 206:
            there = 0
        total = _total(response, there)
        if size is not None and total is not None and total != size:
            _forget(part)
            raise CorruptWeightsError(f"{url} has {total:,} bytes, the registered file {size:,}; nothing was fetched")
        _remember(part, response, fresh=there == 0)
        with part.open("r+b" if there else "wb") as stream:
            stream.seek(there)
            stream.truncate()
            for chunk in response.iter_raw():
                stream.write(chunk)
                there += len(chunk)
                if on_bytes is not None:
                    on_bytes(there, total if total is not None else size)
            stream.flush()
            os.fsync(stream.fileno())
    finally:
        response.close()
    if total is not None and there < total:
        raise _BusyError(f"{there:,} of {total:,} bytes")
    return said


def _opened(client: httpx.Client, url: str, headers: dict[str, str], known: bool) -> tuple[httpx.Response, _Said]:
    """The answer behind redirects, each judged like the first URL."""
    digest, revision = None, ""
    for _ in range(MOST_REDIRECTS + 1):
        response = client.send(client.build_request("GET", url, headers=headers), stream=True)
        linked = response.headers.get("x-linked-etag", "").removeprefix("W/").strip('"')
        digest = linked if re.fullmatch(r"[0-9a-f]{64}", linked) else digest
        revision = response.headers.get("x-repo-commit", revision)
        if not response.is_redirect:
            break
        url = str(response.url.join(response.headers["location"]))
        response.close()
        check_url(url, known)
    else:
        raise DownloadError(f"{url}: more than {MOST_REDIRECTS} redirects")
    status = response.status_code
    if status in (200, 206, 416):
        return response, _Said(digest, revision)
    response.close()
    if status in (408, 425, 429) or status >= 500:
        raise _BusyError(f"it answered {status}")
    why = {401: "it asks for a login", 403: "it refuses", 404: "there is nothing", 410: "it is gone"}
    raise DownloadError(f"{url}: {why.get(status, 'unexpected answer')} (HTTP {status})")


def _total(response: httpx.Response, there: int) -> int | None:
    """Length of the whole file, as the server says."""
    if response.status_code == 206:
        found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", response.headers.get("content-range", ""))
        if found is None or int(found[1]) != there:
            raise DownloadError(f"{response.url} answered with another range than the one it was asked for")
        return None if found[3] == "*" else int(found[3])
    length = response.headers.get("content-length", "")
    return int(length) if length.isdigit() else None


def _notes(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _validator(part: Path) -> str | None:
    """What tells whether the server still has the file that `part` is the beginning of."""
    try:
        found: Any = json.loads(_notes(part).read_text(encoding="utf-8"))["validator"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, str) and found else None


def _remember(part: Path, response: httpx.Response, fresh: bool) -> None:
    if not fresh:
        return
    etag = response.headers.get("etag", "")
    strong = etag if etag and not etag.startswith("W/") else response.headers.get("last-modified", "")
    _notes(part).write_text(json.dumps({"validator": strong}), encoding="utf-8")


def _forget(part: Path) -> None:
    for path in (part, _notes(part)):
        with suppress(FileNotFoundError):
            path.unlink()


def _verified(path: Path, url: str, sha256: str | None, size: int | None, revision: str) -> Fetched:
    """What a file is; one that is not the expected one is removed."""
    with path.open("rb") as stream:
        found, length = hashlib.file_digest(stream, "sha256").hexdigest(), path.stat().st_size
    if (sha256 is not None and found != sha256) or (size is not None and length != size):
        _forget(path)
        raise CorruptWeightsError(
            f"{url} is not the registered file: {length:,} bytes, sha256 {found[:12]}..., expected "
            f"{f'{size:,} bytes, ' if size is not None else ''}sha256 {(sha256 or 'unknown')[:12]}...; it was removed"
        )
    return Fetched(found, length, revision)


def _words(error: Exception | None) -> str:
    return str(error) or type(error).__name__
