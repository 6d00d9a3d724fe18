"""Write files so that each is either the old one or the whole new one."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path

from restore.errors import OutputError


def write_atomically(path: str | os.PathLike[str], data: bytes) -> None:
    """Write beside the target, flush to the disk, then take the target's place.

    A link is followed, an existing file's mode is kept, a new one gets what the umask leaves. Devices and pipes are
    written to directly.

    Raises:
        OutputError: with the path and what to do; the target is untouched and nothing is left behind.
    """
    target = Path(os.path.realpath(path))
    try:
        mode: int | None = None
        with contextlib.suppress(FileNotFoundError):
            found = target.stat()
            if stat.S_ISDIR(found.st_mode):
                raise IsADirectoryError
            if not stat.S_ISREG(found.st_mode):
                target.write_bytes(data)
                return
            mode = stat.S_IMODE(found.st_mode)
        _replace(target, data, mode)
    except FileNotFoundError as error:
        raise OutputError(f"{path}: the folder {target.parent} does not exist; create it first") from error
    except NotADirectoryError as error:
        raise OutputError(f"{path}: {target.parent} is not a folder; choose another output") from error
    except IsADirectoryError as error:
        raise OutputError(f"{path}: is a folder; give a file name in it") from error
    except PermissionError as error:
        raise OutputError(f"{path}: no permission to write in {target.parent}; choose another output") from error
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error}); the disk may be full") from error


def _replace(target: Path, data: bytes, mode: int | None) -> None:
    beside = target.with_name(f".{target.name[:100]}.{secrets.token_hex(6)}.part")
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            if mode is not None:
                os.chmod(beside, mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise
    with contextlib.suppress(OSError):  # some file systems cannot flush a folder
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
