"""R5: schemathesis on the OpenAPI document, stateful: no 5xx, and every status, header and content type documented."""

from __future__ import annotations

import os
import subprocess
import sysconfig
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def run(url: str, folder: Path, *options: str) -> None:
    """Run schemathesis as a user would; fails with what it found."""
    command = [Path(sysconfig.get_path("scripts")) / "st", "--config-file", HERE / "schemathesis.toml", "run",
               f"{url}/openapi.json", "--no-color", "--warnings", "off", *options]  # fmt: skip
    path = os.pathsep.join([str(HERE), str(HERE.parents[2])])
    done = subprocess.run(
        command, cwd=folder, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]


def test_examples_and_some_sequences_conform(server, tmp_path):
    run(server.url, tmp_path, "--phases", "examples,stateful", "--max-examples", "3")


@pytest.mark.seldom
@pytest.mark.slow
def test_everything_that_schemathesis_can_think_of_conforms(server, tmp_path):
    run(
        server.url,
        tmp_path,
        "--phases",
        "examples,coverage,fuzzing,stateful",
        "--max-examples",
        "20",
        "--max-time",
        "1500",
    )
