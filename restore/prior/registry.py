"""Finding installed priors by name, without importing the package that holds them.

A distribution offers priors through entry points of the group "pellucid.priors". Each names a prior and points to a
function `load_denoiser(name, *, runtime, device) -> Denoiser`; the one called "default" answers for no name at all, and
for names that have no entry point of their own. Those of the group "pellucid.enlargers" point to functions
`load_enlarger(name, *, runtime, device) -> Enlarger | None`, asked first, which answer None for names of others.

The module of such a `load_denoiser` may have a function `prior_version(name) -> str`, whose answer changes when
something else is registered under the name; without it a loaded prior is good as long as the process lives.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, cast

from restore.errors import RuntimeUnavailableError, UnknownPriorError

if TYPE_CHECKING:
    from restore.prior.cache import PriorCache
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


def shared_prior(name: str | None = None, *, runtime: str = "auto", device: str = "auto") -> Denoiser | Enlarger:
    """The same, loaded once in this process and kept for whoever asks again, until others need the memory.

    Priors that are kept take at most half of their device's memory (`restore.prior.cache`), the one asked for last
    excepted; the least recently used ones are dropped. A prior that was replaced under its name is loaded anew.

    Args:
        name: see `load_prior`.
        runtime: see `load_prior`.
        device: see `load_prior`.

    Raises:
        UnknownPriorError, CorruptWeightsError, RuntimeUnavailableError: see `load_prior`.
    """
    import torch

    from restore.prior.cache import PriorCache, weight_bytes

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    with _lock:
        if device not in _kept:

            def load(key: _Key) -> Denoiser | Enlarger:
                return load_prior(key[0], runtime=key[1], device=device)

            _kept[device] = PriorCache(load, weight_bytes, _limit(device))
        cache = _kept[device]
    return cache.get((name, runtime, _version(name)))


def release_priors() -> None:
    """Let go of what `shared_prior` keeps; it is freed once nobody uses it."""
    with _lock:
        for cache in _kept.values():
            cache.evict()


def _limit(device: str) -> int | None:
    from restore.prior.cache import default_limit

    try:
        return default_limit(device)
    except (RuntimeError, AssertionError):  # there is no such device; loading says so
        return None


_Key = tuple[str | None, str, str]
_kept: dict[str, PriorCache[_Key, Denoiser | Enlarger]] = {}
_lock = threading.Lock()


def _version(name: str | None) -> str:
    """Of what is registered under a name."""
    installed = _installed()
    entry = installed.get("default" if name is None else name, installed.get("default"))
    if entry is None:
        return ""
    version = getattr(sys.modules.get(_function(entry).__module__), "prior_version", None)
    return "" if version is None else str(version(name))


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
