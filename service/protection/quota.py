"""How often one caller may ask: a token bucket each."""

from __future__ import annotations

import time
from collections import OrderedDict

_MOST_CALLERS = 10_000
"""Buckets kept; the one that was used longest ago goes first, and is full again should its caller return."""


class Quota:
    """Requests a minute of each caller, a minute's worth of which may come at once.

    Args:
        per_minute: requests.
    """

    def __init__(self, per_minute: int) -> None:
        self._capacity = float(per_minute)
        self._rate = per_minute / 60.0
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, caller: str, now: float | None = None) -> float:
        """Take one request out of a caller's bucket.

        Args:
            caller: id of a key, or an address.
            now: of a monotonic clock.

        Returns:
            0 when there was one, else the seconds until there will be.
        """
        now = time.monotonic() if now is None else now
        tokens, since = self._buckets.pop(caller, (self._capacity, now))
        tokens = min(self._capacity, tokens + (now - since) * self._rate)
        wait = 0.0 if tokens >= 1.0 else (1.0 - tokens) / self._rate
        self._buckets[caller] = (tokens if wait else tokens - 1.0, now)
        if len(self._buckets) > _MOST_CALLERS:
            self._buckets.popitem(last=False)
        return wait
