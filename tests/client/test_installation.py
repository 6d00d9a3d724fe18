"""`pip install ./client` alone, as on a machine that has nothing else of ours."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.serving import ROOT, Server

USE = """
import asyncio, json, sys
from importlib.metadata import distributions
from pellucid_client import AsyncClient, Client

url, given, folder = sys.argv[1:]
with Client(url) as client:
    client.denoise(given, noise=20).save(f"{folder}/sync.png")

async def main():
    async with AsyncClient(url) as client:
        (await client.denoise(given, noise=20)).save(f"{folder}/async.png")

asyncio.run(main())
print(json.dumps(sorted(d.metadata["Name"].lower() for d in distributions())))
"""
_OFFLINE = re.compile(r"NewConnectionError|NameResolutionError|Temporary failure|ProxyError|Network is unreachable")


@pytest.mark.slow
def test_the_client_alone_restores_in_a_fresh_environment(tmp_path: Path, picture: Path, real_server: Server) -> None:
    source = tmp_path / "client"
    shutil.copytree(ROOT / "client", source, ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info"))
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "fresh"], check=True)
    python = tmp_path / "fresh" / "bin" / "python"
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", source],
        capture_output=True, text=True, env=clean, check=False,
    )  # fmt: skip
    if done.returncode and _OFFLINE.search(done.stderr):
        pytest.skip("no package index can be reached")
    assert done.returncode == 0, done.stderr
    (tmp_path / "out").mkdir()
    used = subprocess.run(
        [python, "-c", USE, real_server.url, picture, tmp_path / "out"],
        capture_output=True, text=True, env=clean, cwd=tmp_path / "out", check=False,
    )  # fmt: skip
    assert used.returncode == 0, used.stderr
    for name in ("sync.png", "async.png"):
        with Image.open(tmp_path / "out" / name) as image:
            assert image.size == (40, 32)
    installed = set(json.loads(used.stdout))
    assert "pellucid-client" in installed
    assert not installed & {"torch", "numpy", "pillow", "fastapi", "pellucid", "httpx"}
