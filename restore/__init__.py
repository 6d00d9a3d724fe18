"""Restore photographs with a diffusion prior: image in, image out.

    from restore import Restorer
    result = Restorer.from_pretrained().super_resolve("small.jpg", scale=4)
    result.save("large.png")

Importing this package is cheap; torch and the codecs are loaded when a name is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from restore.errors import RestoreError as RestoreError
    from restore.restorer import Restorer as Restorer
    from restore.result import Result as Result
    from restore.tasks.parameters import Parameters as Parameters

_HOMES = {
    "Restorer": "restore.restorer",
    "Result": "restore.result",
    "Parameters": "restore.tasks.parameters",
    "RestoreError": "restore.errors",
}

__all__ = ["Parameters", "RestoreError", "Restorer", "Result"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
