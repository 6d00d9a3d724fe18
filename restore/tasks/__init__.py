"""The tasks: presets from user-level parameters to a degradation, a sampler and a schedule.

Names are imported when they are first used, so that parameters can be checked without loading torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from restore.tasks.known import TASKS, Task

__all__ = ["TASKS", "Task"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from restore.tasks import known

    return getattr(known, name)
