"""Priors in memory: loaded when first asked for, the least recently used one dropped when they grow too many."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from restore.prior.enlarger import Enlarger
from restore.prior.protocol import Denoiser

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

#: Share of a device's memory that priors may fill; the rest is for pictures and what a call needs.
SHARE = 0.5


class PriorCache(Generic[Key, Value]):
    """Loaded priors within a limit of memory. Safe from several threads; a prior is loaded once.

    What is dropped is freed once nobody uses it: a restoration that runs keeps its prior until it ends. The prior
    that was asked for last is kept, even if it is larger than the limit by itself.

    Args:
        load: makes the prior of a key.
        size: bytes that a loaded prior takes.
        limit: bytes that all of them may take; None for no limit.
        expected: bytes that a prior will take, before it is loaded; 0 when that is not known. Room is made first.
    """

    def __init__(
        self,
        load: Callable[[Key], Value],
        size: Callable[[Value], int],
        limit: int | None = None,
        expected: Callable[[Key], int] = lambda _: 0,
    ) -> None:
        self._load, self._size, self._limit, self._expected = load, size, limit, expected
        self._kept: OrderedDict[Key, tuple[Value, int]] = OrderedDict()
        self._loading: dict[Key, threading.Lock] = {}
        self._lock = threading.Lock()
        self._dropped = 0

    def get(self, key: Key) -> Value:
        """The prior of a key, loaded if it is not there; others may be dropped.

        Raises:
            PriorError: it cannot be loaded.
        """
        found = self._find(key)
        if found is not None:
            return found[0]
        with self._lock:
            turn = self._loading.setdefault(key, threading.Lock())
        with turn:
            found = self._find(key)
            if found is not None:
                return found[0]
            try:
                self._make_room(self._expected(key))
                value = self._load(key)
                size = self._size(value)
                self._make_room(size)
                with self._lock:
                    self._kept[key] = (value, size)
            finally:
                with self._lock:
                    self._loading.pop(key, None)
            return value

    def evict(self, key: Key | None = None) -> None:
        """Drop one prior, or all for None."""
        with self._lock:
            for name in list(self._kept) if key is None else [key]:
                if self._kept.pop(name, None) is not None:
                    self._dropped += 1

    @property
    def keys(self) -> tuple[Key, ...]:
        """Those that are there, the least recently used first."""
        with self._lock:
            return tuple(self._kept)

    @property
    def bytes(self) -> int:
        """What they take."""
        with self._lock:
            return sum(size for _, size in self._kept.values())

    @property
    def dropped(self) -> int:
        """How many were dropped so far."""
        return self._dropped

    def _find(self, key: Key) -> tuple[Value, int] | None:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        return None

    def _make_room(self, size: int) -> None:
        if self._limit is None:
            return
        with self._lock:
            while self._kept and sum(kept for _, kept in self._kept.values()) + size > self._limit:
                self._kept.popitem(last=False)
                self._dropped += 1


def weight_bytes(prior: Denoiser | Enlarger) -> int:
    """Bytes that a prior's weights take on its device; 0 where it does not tell."""
    inner = getattr(prior, "denoiser", prior)
    return int(getattr(inner, "weight_bytes", 0))


def default_limit(device: str) -> int | None:
    """Half of a device's memory; None where nothing tells how much it has.

    Args:
        device: "cpu", "cuda", "cuda:N".
    """
    if device.startswith("cuda"):
        import torch

        return int(SHARE * torch.cuda.get_device_properties(torch.device(device)).total_memory)
    try:
        return int(SHARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return None
