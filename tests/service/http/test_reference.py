"""docs/api.md: up to date with the code, and its examples, like the README's, run."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[3]
README = [
    line.strip() for line in (ROOT / "README.md").read_text().splitlines() if re.match(r" *curl .*localhost:8000", line)
]
BLOCKS = re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / "api.md").read_text(), re.DOTALL)


def test_the_reference_is_what_the_code_says():
    spec = importlib.util.spec_from_file_location("reference", ROOT / "docs" / "reference.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / "docs" / "api.md").read_text() == module.page(), "run python docs/reference.py"


def test_there_are_examples():
    assert len(README) >= 3
    assert len(BLOCKS) >= 5


@pytest.mark.skipif(shutil.which("curl") is None, reason="the examples use curl")
@pytest.mark.parametrize("block", [*README, *BLOCKS])
def test_an_example_works_as_it_stands(server, picture, tmp_path, block):
    (tmp_path / "examples").mkdir()
    for name in ("noisy.png", "examples/noisy.png", "examples/small.png", "examples/dark.png"):
        (tmp_path / name).write_bytes(picture("jpeg" if name.endswith("jpg") else "png", 40, 32))
    script = block.replace("http://localhost:8000", server.url)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for made in re.findall(r"-o (\S+\.(?:png|jpg))", block):
        with Image.open(tmp_path / made) as shown:
            assert shown.size in ((40, 32), (80, 64), (160, 128))
    if "steps=0" in block:
        assert '"code":"invalid_parameter"' in done.stdout
