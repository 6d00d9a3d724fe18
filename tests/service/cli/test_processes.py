"""The program in a process of its own: pipes and signals."""

from __future__ import annotations

import io
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from PIL import Image

Process = Callable[..., subprocess.CompletedProcess[bytes]]
Start = Callable[[Sequence[object]], subprocess.Popen[bytes]]
Picture = Callable[..., Path]


def test_a_pipe_carries_the_picture_and_nothing_else(process: Process, picture: Picture, tiny_prior: Path) -> None:
    done = process("denoise", "-", "-", "--prior", tiny_prior, "--format", "png", input=picture().read_bytes())
    assert done.returncode == 0, done.stderr
    assert Image.open(io.BytesIO(done.stdout)).size == (40, 32)
    assert done.stderr.startswith(b"- -> -: denoise")


def test_nothing_on_standard_input_is_an_error(process: Process) -> None:
    done = process("denoise", "-", "-")
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr == b"pellucid: standard input: nothing came in\n"


def test_a_reader_that_went_away_is_no_traceback(picture: Picture, tiny_prior: Path, start: Start) -> None:
    running = start(["denoise", picture(width=200, height=200), "-", "--prior", tiny_prior, "--noise", 20])
    assert running.stdout is not None and running.stderr is not None
    running.stdout.close()
    assert running.wait(200) == 1
    assert b"Traceback" not in running.stderr.read()
    running.stderr.close()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interruption_leaves_whole_files_only(
    picture: Picture, tmp_path: Path, tiny_prior: Path, start: Start, number: int, code: int
) -> None:
    picture("in/a.png", 16, 16)
    picture("in/b.png", 600, 600)
    out = tmp_path / "out"
    options = ["--noise", 20, "--fidelity", 0, "--steps", 300, "--prior", tiny_prior, "--overwrite"]
    running = start(["denoise", tmp_path / "in", out, *options])
    deadline = time.monotonic() + 200
    while not (out / "a.png").exists() and running.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.3)
    running.send_signal(number)
    _, errors = running.communicate(timeout=200)
    assert running.returncode == code, errors
    assert b"Traceback" not in errors
    assert [p.name for p in out.iterdir()] == ["a.png"]
    Image.open(out / "a.png").load()
