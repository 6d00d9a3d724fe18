from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import Result

from tests.models.registry.weights_server import WeightsServer

Run = Callable[..., Result]
Picture = Callable[..., Path]


@pytest.fixture(autouse=True)
def private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PELLUCID_PRIORS", str(tmp_path / "private"))
    monkeypatch.setenv("PELLUCID_OFFLINE", "1")
    return tmp_path / "private"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A small checkpoint of OpenAI's layout."""
    from tests.models.loaders.openai_layout import state_dict

    torch.save(state_dict(), tmp_path / "model.pt")
    return tmp_path / "model.pt"


def test_show_tells_of_installed_and_of_known_priors(run: Run) -> None:
    done = run("models", "show", "photo")
    assert done.exit_code == 0 and done.stdout.startswith("photo\n") and "Apache-2.0" in done.stdout
    done = run("models", "show", "openai-64-cond")
    assert "not on this machine" in done.stdout and "unknown until first pull" in done.stdout
    assert "295,904,454" in done.stdout and "research" in done.stdout and "0.219 Tflop a call" in done.stdout
    shown = json.loads(run("models", "show", "openai-256-uncond", "--json").stdout)
    assert shown["installed"] is False and shown["parameters"] == 552_814_086
    done = run("models", "show", "imaginary")
    assert done.exit_code == 3 and "openai-256-uncond" in done.stderr


def test_pull_offline_ends_with_3_and_one_line(run: Run, picture: Picture, tmp_path: Path) -> None:
    done = run("models", "pull", "ddpm-cifar10-32")
    assert done.exit_code == 3 and done.stderr.count("\n") == 1 and "PELLUCID_OFFLINE" in done.stderr
    done = run("denoise", picture(), tmp_path / "b.png", "--prior", "ddpm-cifar10-32")
    assert done.exit_code == 3 and "models pull ddpm-cifar10-32" in done.stderr


def test_convert_leaves_nothing_to_guess(run: Run, picture: Picture, checkpoint: Path, tmp_path: Path) -> None:
    target = tmp_path / "converted"
    options = ("--option", "native_size=16", "--option", "heads=1")
    done = run("models", "convert", checkpoint, target, *options, "--no-measure")
    assert done.exit_code == 0, done.output
    assert "assumed: pictures of 16 pixels, as asked" in done.stdout and str(target) in done.stdout
    assert {path.suffix for path in target.iterdir()} == {".json", ".safetensors"}
    done = run("denoise", picture(), tmp_path / "out.png", "--noise", 20, "--prior", target)
    assert done.exit_code == 0, done.output
    done = run("models", "convert", checkpoint, tmp_path / "tested", *options)
    assert done.exit_code == 3 and "does not denoise" in done.stderr and "was written, unmeasured" in done.stderr
    assert (tmp_path / "tested" / "config.json").is_file() and "testing it on noisy photographs" in done.stderr
    done = run("models", "convert", checkpoint, target)
    assert done.exit_code == 1 and "not empty" in done.stderr
    for bad, words in (("colour=1", "no option 'colour'"), ("heads", "KEY=VALUE"), ("heads=many", "must be int")):
        done = run("models", "convert", checkpoint, tmp_path / "other", "--option", bad)
        assert done.exit_code == 2 and words in done.stderr


def test_what_was_pulled_is_measured_unless_told_otherwise(
    run: Run, private: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The embedded prior's network in the guise of one that is pulled."""
    from models import self_test
    from models.registry import WEIGHTS, places

    monkeypatch.setattr(self_test, "SIDE", 32)
    monkeypatch.setattr(self_test, "TABLE_LEVELS", 2)
    monkeypatch.delenv("PELLUCID_OFFLINE")
    with WeightsServer(WEIGHTS / "photo") as server:
        facts = json.loads((WEIGHTS / "photo.json").read_text())
        files = {name: entry for name, entry in facts["files"].items() if name != "error_table.json"}
        facts |= {"name": "tiny", "family": "Pulled", "files": files, "source": {"url": server.url}}
        (tmp_path / "catalogue").mkdir()
        (tmp_path / "catalogue" / "tiny.json").write_text(json.dumps(facts))
        monkeypatch.setattr(places, "CATALOGUE", tmp_path / "catalogue")
        done = run("models", "pull", "tiny", "--no-measure")
        assert done.exit_code == 0, done.output
        assert "not measured; pellucid models measure tiny" in done.stderr
        assert "no: restorations assume its error" in run("models", "show", "tiny").stdout
        done = run("models", "pull", "tiny")
        assert done.exit_code == 0 and "self-test   noise 25: +" in done.stdout and "testing it on" in done.stderr
        assert "measured    yes" in run("models", "show", "tiny").stdout
        assert "self-test" not in run("models", "pull", "tiny").stdout
        assert (private / "tiny" / "error_table.json").is_file()
        done = run("models", "pull", "tiny", "--force", "-q")
        assert done.exit_code == 0 and "testing" not in done.stderr and "self-test" in done.stdout


def test_remove_asks_and_leaves_what_came_with_the_package(run: Run) -> None:
    done = run("models", "remove", "photo", "--yes")
    assert done.exit_code == 3 and "came with the package" in done.stderr
    assert run("models", "remove", "ddpm-cifar10-32", "-y").exit_code == 3


def test_add_says_what_it_found_tests_it_and_registers_it(
    run: Run, private: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from models import self_test
    from models.registry import WEIGHTS

    monkeypatch.setattr(self_test, "SIDE", 32)
    done = run("models", "add", WEIGHTS / "photo", "--name", "mine", "--levels", 2, "--licence", "CC0-1.0")
    assert done.exit_code == 0, done.output
    assert "self-test   noise 25: +" in done.stdout and "CC0-1.0" in done.stdout and "found" in done.stdout
    assert "testing it on noisy photographs" in done.stderr
    assert "mine" in [row["name"] for row in json.loads(run("models", "list", "--json").stdout)]
    assert run("models", "verify", "mine").exit_code == 0
    measured = run("models", "measure", "mine", "--levels", 2)
    assert measured.exit_code == 0 and "noise 50: +" in measured.stdout
    assert run("models", "add", WEIGHTS / "photo", "--name", "mine").exit_code == 2
    done = run(
        "models", "add", checkpoint, "--name", "noise", "--option", "heads=1", "--option", "noise_schedule=linear"
    )
    assert done.exit_code == 3 and "does not denoise" in done.stderr
    assert run("models", "remove", "mine", "-y").exit_code == 0 and not (private / "mine.json").exists()


def test_the_known_priors_are_listed_a_line_each(run: Run) -> None:
    done = run("models", "list", "--known")
    assert done.exit_code == 0 and len(done.stdout.splitlines()) >= 18
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("openai-256-uncond ")]
    assert "553 M" in line and "commercial use: no" in line and "installed" not in line
    rows = json.loads(run("models", "list", "--known", "--json").stdout)
    assert {row["name"] for row in rows if row["installed"]} == set()
