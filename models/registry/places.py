"""Where priors are described: shipped in the package, in the user's private folder, in the catalogue of known ones."""

from __future__ import annotations

import os
from pathlib import Path

from models.errors import NotPulledError
from models.registry.facts import PriorFacts
from restore.errors import UnknownPriorError

WEIGHTS = Path(__file__).parents[1] / "weights"
CATALOGUE = Path(__file__).parent / "catalogue"
DEFAULT = "photo"


def private_folder() -> Path:
    """Of the user's own priors: PELLUCID_PRIORS, or "priors" in the platform's folder for application data."""
    chosen = os.environ.get("PELLUCID_PRIORS")
    if chosen:
        return Path(chosen)
    from platformdirs import user_data_path

    return user_data_path("pellucid") / "priors"


def prepare_private_folder() -> Path:
    """The same, made where it is missing, for its owner alone."""
    folder = private_folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _descriptions(folder: Path) -> dict[str, Path]:
    try:
        names = sorted(os.listdir(folder))  # a server looks with each request: Path.glob takes four times as long
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return {name.removesuffix(".json"): folder / name for name in names if name.endswith(".json")}


def installed(weights: Path = WEIGHTS) -> dict[str, Path]:
    """Name -> description of every prior that can be loaded: the shipped ones, which nobody replaces, and the user's.

    Args:
        weights: a folder of released priors; any but the package's own stands alone.
    """
    own = _descriptions(private_folder()) if weights == WEIGHTS else {}
    return dict(sorted({**own, **_descriptions(weights)}.items()))


def list_priors(weights: Path = WEIGHTS) -> tuple[PriorFacts, ...]:
    """Facts of every installed prior, by name. Does not load torch."""
    return tuple(PriorFacts.read(path) for path in installed(weights).values())


def list_known() -> tuple[PriorFacts, ...]:
    """Facts of the catalogue: checkpoints that can be pulled, installed or not. Does not load torch."""
    return tuple(known_facts(name) for name in _descriptions(CATALOGUE))


def known_facts(name: str) -> PriorFacts:
    """Facts of one entry of the catalogue.

    Raises:
        UnknownPriorError: no such entry.
    """
    paths = _descriptions(CATALOGUE)
    if name not in paths:
        raise UnknownPriorError(f"no prior called {name!r} can be pulled; there are {', '.join(paths)}")
    return PriorFacts.read(paths[name], private_folder() / name, pulled=False)


def prior_facts(name: str | None = None, weights: Path = WEIGHTS) -> PriorFacts:
    """Facts of one installed prior; of the default one for None.

    Raises:
        UnknownPriorError: no such prior.
        NotPulledError: it is known, but its files are not on this machine.
        CorruptWeightsError: its description is damaged.
    """
    name = DEFAULT if name is None else name
    # Compare with what exists instead of building a path from a name that may come from a request.
    paths = installed(weights)
    if name in paths:
        return PriorFacts.read(paths[name])
    if weights == WEIGHTS and name in _descriptions(CATALOGUE):
        facts = known_facts(name)
        licence = facts.licence.get("weights", "unknown")
        raise NotPulledError(
            f"the prior {name!r} is known, but not on this machine; pellucid models pull {name} fetches it "
            f"(licence of the weights: {licence})"
        )
    known = ", ".join(paths) or "none"
    raise UnknownPriorError(f"no prior is called {name!r}; known priors: {known}")


def prior_version(name: str | None = None) -> str:
    """Of what is registered under a name: changes when a prior is removed and another one added; "" for none.

    Args:
        name: of the prior; None for the default one.
    """
    path = installed().get(DEFAULT if name is None else name)
    if path is None:
        return ""
    try:
        return f"{path}@{path.stat().st_mtime_ns}"
    except OSError:
        return ""
