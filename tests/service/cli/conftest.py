"""A small untrained prior, small pictures, and the program in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from PIL import Image

ROOT = Path(__file__).resolve().parents[3]

Run = Callable[..., Result]
Picture = Callable[..., Path]


@pytest.fixture(scope="session")
def tiny_prior(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an untrained network of a few thousand weights, as training leaves it."""
    import torch

    from models.unet import DenoisingUNet

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("priors") / "tiny"
    DenoisingUNet(channels=(8, 8), blocks=(1, 1), middle=1).save_pretrained(folder)
    return folder


@pytest.fixture
def picture(tmp_path: Path) -> Picture:
    """Writes a small noisy picture: picture("a.png", width, height)."""

    def write(name: str = "in.png", width: int = 40, height: int = 32, seed: int = 0) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels(width, height, seed)).save(path)
        return path

    return write


def pixels(width: int, height: int, seed: int = 0) -> NDArray[np.uint8]:
    """A gradient with noise of 20."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(60, 190, width)[None, :, None] + np.zeros((height, 1, 3))
    return np.clip(ramp + 20 * rng.standard_normal(ramp.shape), 0, 255).astype(np.uint8)


@pytest.fixture
def run() -> Run:
    """The program in this process: run("denoise", path, ..., input=bytes)."""
    from service.cli.main import cli

    def call(*arguments: object, input: bytes | None = None) -> Result:
        return CliRunner().invoke(cli, [str(a) for a in arguments], input=input, prog_name="pellucid")

    return call


@pytest.fixture
def restoring(run: Run, tiny_prior: Path) -> Run:
    """The same with the small prior."""

    def call(*arguments: object, input: bytes | None = None) -> Result:
        return run(*arguments, "--prior", tiny_prior, "--device", "cpu", input=input)

    return call


def environment(**extra: str) -> dict[str, str]:
    """For processes: this checkout's packages, one thread."""
    paths = [extra.pop("PYTHONPATH", ""), str(ROOT), os.environ.get("PYTHONPATH", "")]
    given = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in paths if p), "OMP_NUM_THREADS": "1", **extra}
    given.pop("PELLUCID_DEBUG", None)
    return given


def command(*arguments: object) -> list[str]:
    """The program as a process's arguments."""
    return [sys.executable, "-c", "from service.cli.main import main; main()", *(str(a) for a in arguments)]


@pytest.fixture
def process() -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """The program in a process of its own, without standard input unless `input` is given."""

    def call(
        *arguments: object, input: bytes | None = None, extra: dict[str, str] | None = None, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            command(*arguments), input=input or b"", capture_output=True, env=environment(**(extra or {})), cwd=cwd,
            timeout=300, check=False,
        )  # fmt: skip

    return call


@pytest.fixture
def start() -> Callable[[Sequence[object]], subprocess.Popen[bytes]]:
    """The program left running."""

    def call(arguments: Sequence[object]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command(*arguments), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=environment(),
        )  # fmt: skip

    return call
