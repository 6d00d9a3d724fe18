"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# Timing belongs to the benchmarks, and a failure must be found again by the next run.
settings.register_profile("pellucid", deadline=None, derandomize=True)
settings.load_profile("pellucid")


@pytest.fixture(scope="session")
def datasets() -> Path:
    """The folder of the public test sets, for tests marked `data`."""
    return Path(os.environ["PELLUCID_DATASETS"])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.environ.get("PELLUCID_DATASETS"):
        return
    skip = pytest.mark.skip(reason="needs the public test sets: set PELLUCID_DATASETS to their folder")
    for item in items:
        if item.get_closest_marker("data"):
            item.add_marker(skip)
