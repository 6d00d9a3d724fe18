"""Both databases, so that each promise of the store is tested on each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from service.jobs.model import NewJob
from service.jobs.sql import SqlJobStore
from service.jobs.store import Outcome
from tests.service.servers import postgres_database


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of an empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'jobs.db'}"
        return
    with postgres_database(request.getfixturevalue("postgres")) as found:
        yield found


@pytest.fixture
def stores(url: str) -> Iterator[Callable[[], SqlJobStore]]:
    """Opens stores on one database, as several servers would."""
    opened = []

    def make() -> SqlJobStore:
        opened.append(SqlJobStore(url))
        opened[-1].open()
        return opened[-1]

    yield make
    for store in opened:
        store.close()


@pytest.fixture
def store(stores: Callable[[], SqlJobStore]) -> SqlJobStore:
    return stores()


@pytest.fixture
def new_job() -> Callable[..., NewJob]:
    defaults: dict[str, Any] = {"task": "denoise", "parameters": {"noise": 25}, "inputs": {"image": "input/a"}}
    return lambda **fields: NewJob(**{**defaults, **fields})


@pytest.fixture
def outcome() -> Callable[..., Outcome]:
    defaults: dict[str, Any] = {
        "outputs": {"result": "result/a", "report": "report/a"},
        "media_type": "image/png",
        "width": 64,
        "height": 48,
        "sha256": "ab" * 32,
        "effective": {"seed": 7, "noise": 25.0},
        "warnings": [{"code": "clipped", "message": "some"}],
        "metrics": {"restore": 0.5, "nfe": 4.0},
        "degraded": "tile=256;reason=oom",
    }
    return lambda **fields: Outcome(**{**defaults, **fields})
