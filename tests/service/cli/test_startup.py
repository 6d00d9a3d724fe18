from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from click.testing import Result

import service

HEAVY = ("torch", "diffusers", "numpy", "scipy", "cv2", "pyvips", "PIL", "onnxruntime")
PROBE = """
import sys
from service.cli.main import main
try:
    main()
finally:
    print("LOADED", *(m for m in {heavy} if m in sys.modules), file=sys.stderr)
"""

TASKS = ["denoise", "super-resolve", "low-light-enhance", "deblur", "inpaint", "colorize", "dejpeg", "restore"]


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["denoise", "--help"], ["train", "--help"]])
def test_asking_for_help_loads_nothing_heavy(arguments: list[str]) -> None:
    probe = PROBE.format(heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", probe, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "LOADED\n" in done.stderr, done.stderr


@pytest.mark.parametrize(
    ("given", "turns"),
    [({}, "10000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")],
)
def test_how_long_idle_threads_turn_is_set_before_pytorch_is_loaded(given: dict[str, str], turns: str) -> None:
    probe = "import os, sys, service; assert 'torch' not in sys.modules; print(os.environ.get('GOMP_SPINCOUNT'))"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    done = subprocess.run([sys.executable, "-c", probe], env=kept | given, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == turns


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_help_and_version_take_less_than_half_a_second(argument: str) -> None:
    # Processor time: what else runs on the machine does not count.
    seconds = []
    for _ in range(3):
        before = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
        subprocess.run([sys.executable, "-c", PROBE.format(heavy=()), argument], capture_output=True, check=True)
        seconds.append(sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]) - before)
    assert min(seconds) < 0.5


def test_what_the_command_line_alone_tells_is_said_without_loading_torch(tmp_path: Path) -> None:
    source, target = tmp_path / "in.png", tmp_path / "out.png"
    source.touch()
    target.touch()
    command = [sys.executable, "-c", PROBE.format(heavy=("torch",)), "denoise", str(source), str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "--overwrite" in done.stderr
    assert "LOADED\n" in done.stderr, done.stderr


def test_version_is_the_package_s(run: Callable[..., Result]) -> None:
    assert run("--version").stdout == f"pellucid {service.__version__}\n"


def test_the_console_script_is_installed() -> None:
    (script,) = entry_points(group="console_scripts", name="pellucid")
    assert script.value == "service.cli.main:main"


def test_help_lists_commands_and_exit_codes(run: Callable[..., Result]) -> None:
    text = run("--help").stdout
    for name in [*TASKS, "models", "train", "doctor", "130"]:
        assert name in text


@pytest.mark.parametrize("name", TASKS)
def test_every_task_has_the_same_common_options(run: Callable[..., Result], name: str) -> None:
    text = run(name, "--help").stdout
    for option in (
        "--fidelity", "--steps", "--samples", "--strength", "--seed", "--uncertainty", "--prior", "--device",
        "--runtime", "--tile", "--format", "--json", "--overwrite", "--keep-gps", "--quiet",
    ):  # fmt: skip
        assert option in text


def test_the_commands_are_the_tasks_of_the_core() -> None:
    from restore.tasks import TASKS as CORE
    from service.cli.restoring import COMMANDS, TASK_NAMES

    assert set(TASK_NAMES) == set(CORE)
    assert {c.name for c in COMMANDS} == set(CORE) - {"auto"} | {"restore"}


def test_options_are_the_parameters_of_the_core() -> None:
    from dataclasses import fields

    from restore.tasks.parameters import SCALES, Parameters
    from service.cli.batch import PARAMETERS
    from service.cli.restoring import COMMANDS

    assert set(PARAMETERS) == {f.name for f in fields(Parameters)}
    offered = {p.name: p for c in COMMANDS for p in c.params}
    assert set(PARAMETERS) <= offered.keys()
    assert tuple(int(s) for s in offered["scale"].type.choices) == SCALES  # type: ignore[attr-defined]


def test_formats_are_those_that_can_be_written() -> None:
    from restore.images.formats import FORMATS as CORE
    from service.cli.restoring import FORMATS

    assert set(FORMATS) == set(CORE)
