import json
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

from restore.timing import TASKS
from service.cli.bench import TASK_NAMES


def test_prints_both_tables(run: Callable[..., Result], tiny_prior: Path) -> None:
    done = run("bench", "--prior", tiny_prior, "--side", 32, "--size", 32, "--task", "denoise", "--rounds", 1)
    assert done.exit_code == 0, done.output
    assert "| 32x32 | " in done.stdout
    assert "| denoise | 1 | " in done.stdout
    assert "dejpeg" not in done.stdout


def test_prints_json(run: Callable[..., Result], tiny_prior: Path) -> None:
    options = ["--side", 32, "--size", 32, "--task", "dejpeg", "--steps", 2, "--rounds", 1, "--json"]
    done = run("bench", "--prior", tiny_prior, *options)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert [entry["name"] for entry in found["calls"]] == ["32x32"]
    (task,) = found["restorations"]["tasks"]
    assert (task["name"], task["calls"]) == ("dejpeg", 2)
    assert task["seconds"] > 0


def test_offers_every_task() -> None:
    assert TASK_NAMES == TASKS
