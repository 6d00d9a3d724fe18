"""Estimators that other packages bring: entry points, found by group and name."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

from restore.errors import ParameterError, RuntimeUnavailableError


def names(group: str) -> tuple[str, ...]:
    """Of the estimators installed in a group, sorted."""
    return tuple(sorted({entry.name for entry in entry_points(group=group)}))


def load(group: str, name: str, what: str, others: tuple[str, ...] = ()) -> Any:
    """What the entry point's function returns.

    Args:
        group: of entry points.
        name: of the estimator.
        what: to call it in messages.
        others: names that the caller knows besides.

    Raises:
        ParameterError: no such estimator is installed.
        RuntimeUnavailableError: it needs a module that cannot be imported.
    """
    found = {entry.name: entry for entry in entry_points(group=group)}
    if name not in found:
        known = ", ".join(sorted({*others, *found})) or "none"
        raise ParameterError(f"no {what} {name!r}; installed: {known}")
    try:
        make = found[name].load()
    except ImportError as error:
        raise RuntimeUnavailableError(
            f"the {what} {name!r} cannot be imported ({error}); install pellucid with its dependencies"
        ) from error
    return make()
