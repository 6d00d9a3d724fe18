"""How much memory a device has left, and whether an error says that it ran out."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

#: What runtimes and allocators say, in lower case.
_MARKS = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "failed to allocate memory",
    "alloc_failed",
    "bfcarena",
    "bad_alloc",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception, of whatever runtime, means that memory ran out."""
    import torch

    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(mark in text for mark in _MARKS)


def available_bytes(device: str | torch.device = "cpu") -> int | None:
    """Memory a process can still take on a device; None where the system does not say.

    On the CPU what the kernel holds available (MemAvailable), and no more than the control groups of the process
    allow; on CUDA what the driver reports free and what PyTorch's allocator holds without using it.
    """
    import torch

    device = torch.device(device)
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free) + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    found = [_available_of_system(Path("/proc/meminfo")), _available_in_groups(Path("/proc/self/cgroup"))]
    known = [value for value in found if value is not None]
    return min(known) if known else None


def release(device: str | torch.device = "cpu") -> None:
    """Give back what is no longer used, after running out of memory."""
    import torch

    gc.collect()
    if torch.device(device).type == "cuda" and torch.cuda.is_available():
        torch.cuda.empty_cache()


def _available_of_system(meminfo: Path) -> int | None:
    try:
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        return None
    return None


def _available_in_groups(membership: Path, root: Path = Path("/sys/fs/cgroup")) -> int | None:
    """The tightest limit of the process's control groups and their ancestors, less what they use.

    Version 2 has memory.max and memory.current, version 1 memory/memory.limit_in_bytes and .usage_in_bytes. Inside a
    container the root itself is the container's group.
    """
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return None
    found = []
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers == "":
            found += _along(root, group, "memory.max", "memory.current")
        elif "memory" in controllers.split(","):
            found += _along(root / "memory", group, "memory.limit_in_bytes", "memory.usage_in_bytes")
    return min(found) if found else None


def _along(root: Path, group: str, limit: str, usage: str) -> list[int]:
    """What each group from the root down to the process's own leaves."""
    folder, found = root, []
    for part in ("", *Path(group.lstrip("/")).parts):
        folder = folder / part
        try:
            most, used = (folder / limit).read_text().strip(), int((folder / usage).read_text())
        except (OSError, ValueError):
            continue
        # Version 1 says "no limit" with a number near 2^63.
        if most != "max" and int(most) < 1 << 60:
            found.append(max(int(most) - used + _reclaimable(folder), 0))
    return found


def _reclaimable(folder: Path) -> int:
    """Cached file contents count as used, but make way."""
    try:
        for line in (folder / "memory.stat").read_text().splitlines():
            name, _, value = line.partition(" ")
            if name in ("inactive_file", "total_inactive_file"):
                return int(value)
    except (OSError, ValueError):
        return 0
    return 0
