"""The priors of one worker: loaded when a ticket first asks, split into what answers tiles and how calls are cut."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.cache import PriorCache, default_limit, expected_bytes, weight_bytes
from restore.errors import RestoreError
from restore.prior.enlarger import Enlarger
from restore.prior.protocol import Denoiser, PriorInfo
from restore.prior.registry import load_prior
from restore.prior.tiled import TiledDenoiser, Tiling
from service.worker.config import WorkerConfig

#: Tiles of a prior that says nothing about them; the embedded prior's own (models.registry) are as large.
TILE = 512


@dataclass(frozen=True)
class Prior:
    """A loaded prior.

    Attributes:
        name: as tickets call it; "" for the default.
        denoiser: answers for tiles.
        tiling: how calls are cut, unless memory asks for less.
        info: facts, without the restrictions on the size: what samplers see.
        runtime: what executes it, for the metrics.
    """

    name: str
    denoiser: Denoiser
    tiling: Tiling
    info: PriorInfo
    runtime: str


@dataclass(frozen=True)
class EnlargingPrior:
    """A loaded prior that only enlarges, by a sampler of its own.

    Attributes:
        name: as in `Prior`.
        enlarger: does the work.
        runtime: as in `Prior`.
    """

    name: str
    enlarger: Enlarger
    runtime: str

    @property
    def info(self) -> PriorInfo:
        """Facts."""
        return self.enlarger.info


Loaded = Prior | EnlargingPrior


@dataclass(frozen=True)
class Key:
    """Which prior.

    Attributes:
        name: as in `Prior`.
        exact: computed in float32, whatever is faster here.
        version: of what is registered under the name; another one after it was replaced.
    """

    name: str
    exact: bool = False
    version: str = ""


class Priors:
    """Loads priors and keeps them within a limit of memory, see `models.cache`. Safe from several threads."""

    def __init__(self, config: WorkerConfig) -> None:
        self._config = config
        self._load = _loader(config.loader) if config.loader else load_prior
        limit = default_limit(config.device) if config.prior_memory is None else config.prior_memory
        self._cache: PriorCache[Key, Loaded | None] = PriorCache(self._loaded, _bytes, limit, self._expected)

    def get(self, name: str | None) -> Loaded:
        """The prior of a ticket.

        Raises:
            PriorError: unknown, damaged, or not for this machine.
        """
        name = name or self._config.prior or ""
        from models.registry import prior_version

        version = "" if self._config.loader else prior_version(name or None)
        prior = self._cache.get(Key(name, version=version))
        assert prior is not None
        return prior

    def exact(self, prior: Prior) -> Prior | None:
        """The same prior computed in float32; itself when it is already, None when that cannot be had."""
        if getattr(prior.denoiser, "precision", "fp32") == "fp32":
            return prior
        exact = self._cache.get(Key(prior.name, exact=True, version=prior.info.digest))
        return exact if isinstance(exact, Prior) else None

    def _loaded(self, key: Key) -> Loaded | None:
        config, name = self._config, key.name
        if not key.exact:
            loaded = self._load(name or None, runtime=config.runtime, device=config.device)
            if isinstance(loaded, Enlarger):
                return EnlargingPrior(name, loaded, loaded.info.runtime or "torch")
            return self._split(name, loaded)
        from models.registry import load_denoiser

        try:
            return self._split(
                name, load_denoiser(name or None, device=config.device, runtime="torch", precision="fp32")
            )
        except RestoreError:
            return None

    def _expected(self, key: Key) -> int:
        return 0 if self._config.loader else expected_bytes(key.name or None)

    def _split(self, name: str, loaded: Denoiser) -> Prior:
        if isinstance(loaded, TiledDenoiser):
            tiles, tiling = loaded.denoiser, loaded.tiling
        else:
            tiles, tiling = loaded, Tiling(loaded.info, TILE)
        if self._config.tile is not None:
            tiling = Tiling(tiles.info, self._config.tile, min(tiling.overlap, self._config.tile // 4))
        info = TiledDenoiser(tiles).info
        return Prior(name, tiles, tiling, info, tiles.info.runtime or "torch")


def _bytes(prior: Loaded | None) -> int:
    """What a prior takes; where its runtime does not tell, what its weights take in float32."""
    if prior is None:
        return 0
    return weight_bytes(prior.denoiser if isinstance(prior, Prior) else prior.enlarger) or expected_bytes(
        prior.name or None
    )


def _loader(place: str) -> Callable[..., Any]:
    """The function named by "FILE.py:FUNCTION"."""
    path, _, function = place.rpartition(":")
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot load {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    loader: Callable[..., Any] = getattr(module, function)
    return loader
