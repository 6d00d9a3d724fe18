"""What tests of several parts of the service share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.service.servers import MissingError, postgres_server


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """URL of a PostgreSQL server."""
    try:
        with postgres_server() as url:
            yield url
    except MissingError as missing:
        pytest.skip(str(missing))
