"""The program in a process of its own: pipes, signals, priors that other distributions bring."""

from __future__ import annotations

import io
import json
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
    assert running.wait(60) == 1
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
    deadline = time.monotonic() + 60
    while not (out / "a.png").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.3)
    running.send_signal(number)
    _, errors = running.communicate(timeout=60)
    assert running.returncode == code, errors
    assert b"Traceback" not in errors
    assert [p.name for p in out.iterdir()] == ["a.png"]
    Image.open(out / "a.png").load()


def test_a_prior_of_another_distribution_is_found_by_name(
    process: Process, picture: Picture, tmp_path: Path, tiny_prior: Path
) -> None:
    site = tmp_path / "site"
    facts = site / "foreign-1.0.dist-info"
    facts.mkdir(parents=True)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: foreign\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[pellucid.priors]\nforeign = foreign_prior:load\n")
    (site / "foreign_prior.py").write_text(
        "from pathlib import Path\n"
        "from models.registry import load_folder\n"
        "def load(name, *, runtime, device):\n"
        f"    return load_folder(Path({str(tiny_prior)!r}), name=name, device=device, digest='sha256:abc')\n"
    )
    extra = {"PYTHONPATH": str(site)}
    out = tmp_path / "out.png"
    done = process("denoise", picture(), out, "--prior", "foreign", "--json", extra=extra)
    assert done.returncode == 0, done.stderr
    assert (json.loads(done.stdout)["prior"], json.loads(done.stdout)["digest"]) == ("foreign", "sha256:abc")
    listed = process("models", "list", "--json", extra=extra)
    assert "foreign" in [row["name"] for row in json.loads(listed.stdout)]
    verified = process("models", "verify", "foreign", extra=extra)
    assert verified.stdout == b"foreign: ok, sha256:abc\n"
