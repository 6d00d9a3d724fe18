"""Priors in memory (`restore.prior.cache`), and how much one that is registered will take."""

from __future__ import annotations

from restore.prior.cache import SHARE, PriorCache, default_limit, weight_bytes

__all__ = ["SHARE", "PriorCache", "default_limit", "expected_bytes", "weight_bytes"]


def expected_bytes(name: str | None) -> int:
    """Bytes that an installed prior's weights will take in float32; 0 for one that the registry does not know."""
    from models.registry import prior_facts
    from restore.errors import PriorError

    try:
        return 4 * prior_facts(name).parameters
    except PriorError:
        return 0
