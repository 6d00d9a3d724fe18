"""The priors of one worker: loaded when a ticket first asks, split into what answers tiles and how calls are cut."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restore.errors import RestoreError
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


class Priors:
    """Loads priors and keeps them. Safe from several threads; a prior is loaded once."""

    def __init__(self, config: WorkerConfig) -> None:
        self._config = config
        self._load = _loader(config.loader) if config.loader else load_prior
        self._loaded: dict[str, Prior] = {}
        self._exact: dict[str, Prior | None] = {}
        self._lock = threading.Lock()

    def get(self, name: str | None) -> Prior:
        """The prior of a ticket.

        Raises:
            PriorError: unknown, damaged, or not for this machine.
        """
        name = name or self._config.prior or ""
        with self._lock:
            if name not in self._loaded:
                config = self._config
                loaded = self._load(name or None, runtime=config.runtime, device=config.device)
                self._loaded[name] = self._split(name, loaded)
            return self._loaded[name]

    def exact(self, prior: Prior) -> Prior | None:
        """The same prior computed in float32; itself when it is already, None when that cannot be had."""
        if getattr(prior.denoiser, "precision", "fp32") == "fp32":
            return prior
        with self._lock:
            if prior.name not in self._exact:
                self._exact[prior.name] = self._load_exact(prior)
            return self._exact[prior.name]

    def _load_exact(self, prior: Prior) -> Prior | None:
        from models.registry import load_folder, verify

        try:
            facts = verify(prior.name or None)
            loaded = load_folder(
                facts.folder, name=facts.name, device=self._config.device, runtime="torch", precision="fp32",
                digest=facts.digest,
            )  # fmt: skip
        except RestoreError:
            return None
        return self._split(prior.name, loaded)

    def _split(self, name: str, loaded: Denoiser) -> Prior:
        if isinstance(loaded, TiledDenoiser):
            tiles, tiling = loaded.denoiser, loaded.tiling
        else:
            tiles, tiling = loaded, Tiling(loaded.info, TILE)
        if self._config.tile is not None:
            tiling = Tiling(tiles.info, self._config.tile, min(tiling.overlap, self._config.tile // 4))
        info = TiledDenoiser(tiles).info
        return Prior(name, tiles, tiling, info, str(getattr(tiles, "runtime", "torch")))


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
