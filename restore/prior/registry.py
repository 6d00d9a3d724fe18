"""Finding installed priors by name, without importing the package that holds them.

A distribution offers priors through entry points of the group "pellucid.priors". Each names a prior and points to a
function `load_denoiser(name, *, runtime, device) -> Denoiser`; the one called "default" answers for no name at all, and
for names that have no entry point of their own. Those of the group "pellucid.enlargers" point to functions
`load_enlarger(name, *, runtime, device) -> Enlarger | None`, asked first, which answer None for names of others.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, cast

from restore.errors import RuntimeUnavailableError, UnknownPriorError

if TYPE_CHECKING:
    from restore.prior.enlarger import Enlarger
    from restore.prior.protocol import Denoiser

GROUP, ENLARGERS = "pellucid.priors", "pellucid.enlargers"


def _installed() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def list_priors() -> tuple[str, ...]:
    """Names of the installed priors, sorted."""
    return tuple(sorted(_installed().keys() - {"default"}))


def load_prior(name: str | None = None, *, runtime: str = "auto", device: str = "auto") -> Denoiser | Enlarger:
    """Load an installed prior.

    Args:
        name: one of `list_priors()`; None for the default.
        runtime: what executes the network: "auto", "torch", ...; see the prior.
        device: "auto", "cpu", "cuda", "cuda:1", ...

    Raises:
        UnknownPriorError: no such prior is installed.
        CorruptWeightsError: its files are not those that were registered.
        RuntimeUnavailableError: this machine or runtime cannot do what was asked.
    """
    for offered in entry_points(group=ENLARGERS):
        enlarger = _function(offered)(name, runtime=runtime, device=device)
        if enlarger is not None:
            return cast("Enlarger", enlarger)
    installed = _installed()
    entry = installed.get("default" if name is None else name, installed.get("default"))
    if entry is None:
        wanted = "a prior" if name is None else f"the prior {name!r}"
        known = ", ".join(list_priors()) or "none"
        raise UnknownPriorError(
            f"cannot find {wanted}: installed priors: {known}. "
            "Reinstall pellucid, or install the package that offers it."
        )
    return cast("Denoiser", _function(entry)(name, runtime=runtime, device=device))


def _function(entry: EntryPoint) -> Callable[..., Any]:
    """What an entry point names.

    Raises:
        RuntimeUnavailableError: it cannot be imported.
    """
    try:
        return cast("Callable[..., Any]", entry.load())
    except ImportError as error:
        raise RuntimeUnavailableError(
            f"the prior {entry.name!r} needs {error.name or 'a module'}, which cannot be imported ({error}); "
            "install pellucid with its dependencies"
        ) from error
