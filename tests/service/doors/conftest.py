"""A real server that asks for a key, beside the one that all tests share."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving import PROGRAM, Server, environment, serving


@pytest.fixture(scope="session")
def locked(tmp_path_factory: pytest.TempPathFactory, tiny_priors: Path) -> Iterator[tuple[Server, str]]:
    """A server with small limits, and its key."""
    folder = tmp_path_factory.mktemp("locked")
    command = [sys.executable, "-c", PROGRAM, "keys", "new", str(folder / "keys")]
    made = subprocess.run(command, check=True, capture_output=True, text=True, env=environment())
    settings = {
        "PELLUCID_AUTH": "required",
        "PELLUCID_API_KEYS_FILE": str(folder / "keys"),
        "PELLUCID_MAX_WORK": "0.5",
        "PELLUCID_MAX_BYTES": "1000000",
    }
    with serving(folder, tiny_priors, settings) as running:
        yield running, made.stdout.strip()
