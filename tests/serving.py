"""A real server: `pellucid serve` in a process of its own, on a port of its own, with a prior that costs little."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = "from service.cli.main import main; main()"
_ADDRESS = re.compile(r"pellucid serves at (http://\S+)")


@dataclass
class Server:
    """A running server.

    Attributes:
        url: its address.
        process: of the program.
        log: what it said.
    """

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])


def make_tiny_prior(priors: Path) -> Path:
    """A folder of private priors (PELLUCID_PRIORS) with "tiny": an untrained network of a few thousand weights."""
    import numpy as np
    import torch

    from models.release import release
    from models.unet import DenoisingUNet

    torch.manual_seed(0)
    DenoisingUNet(channels=(8, 8), blocks=(1, 1), middle=1).save_pretrained(priors / "run" / "ema")
    noise = [np.random.default_rng(seed).integers(0, 256, (32, 32, 3), np.uint8) for seed in range(2)]
    release(priors / "run" / "ema", priors / "tiny", photographs=noise, size=32, sigmas=(0.1, 1.0), precision="fp32")
    return priors


def environment(**extra: str) -> dict[str, str]:
    """Of a process: this checkout's packages, one thread, nothing of the caller's settings."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("PELLUCID_")}
    paths = [str(ROOT), str(ROOT / "client")]
    return {**own, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", **extra}


@contextmanager
def serving(
    folder: Path,
    priors: Path | None = None,
    settings: Mapping[str, str] | None = None,
    program: str = PROGRAM,
    port: int = 0,
) -> Iterator[Server]:
    """Serve from a folder; ready when this begins, gone when it ends.

    Args:
        folder: of its database, its pictures and its log.
        priors: of `make_tiny_prior`; the embedded prior otherwise.
        settings: variables.
        program: Python code that runs the command line.
        port: 0 for any free one.
    """
    given = {"PELLUCID_DRAIN_SECONDS": "1", "PELLUCID_DEVICES": "cpu", "PELLUCID_THREADS": "1", **(settings or {})}
    if priors is not None:
        given |= {"PELLUCID_PRIORS": str(priors), "PELLUCID_PRIOR": "tiny"}
    command = [sys.executable, "-c", program, "serve", "--port", str(port), "--data-dir", str(folder / "data")]
    log = folder / "log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, env=environment(**given)
        )
    try:
        yield Server(_ready(process, log), process, log)
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


def _ready(process: subprocess.Popen[bytes], log: Path) -> str:
    """The address, once work is taken there."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        found = _ADDRESS.search(log.read_text())
        if found is not None and _answers(found[1]):
            return found[1]
        time.sleep(0.05)
    raise AssertionError(f"not ready after two minutes:\n{log.read_text()}")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5):
            return True
    except urllib.error.HTTPError as error:
        error.close()
        return False
    except OSError:
        return False
