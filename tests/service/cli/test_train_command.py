from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest
from click.testing import Result

from models.registry.places import WEIGHTS

Run = Callable[..., Result]
Picture = Callable[..., Path]

SMALL = ["--channels", "4,4", "--blocks", "1,1", "--middle", 1, "--batch", 1, "--patch", 16, "--device", "cpu"]


@pytest.fixture
def photographs(picture: Picture, tmp_path: Path) -> Path:
    for k in range(2):
        picture(f"photographs/{k}.png", 200, 200, seed=k)
    return tmp_path / "photographs"


def test_training_can_be_used_and_resumed(run: Run, photographs: Path, picture: Picture, tmp_path: Path) -> None:
    out = tmp_path / "run"
    arguments = ["train", "--data", photographs, "--out", out, "--budget", "2s", "--decay", "1s", *SMALL]
    done = run(*arguments)
    assert done.exit_code == 0, done.output
    assert "Validation PSNR: sigma 5:" in done.stdout and str(out / "ema") in done.stdout
    assert (out / "log.csv").read_text().startswith("step,")

    refused = run(*arguments)
    assert refused.exit_code == 2 and "--resume" in refused.stderr

    before = int((out / "log.csv").read_text().splitlines()[-1].split(",")[0])
    assert run(*arguments, "--resume", "--quiet").output == ""
    assert int((out / "log.csv").read_text().splitlines()[-1].split(",")[0]) != before

    restored = tmp_path / "out.png"
    used = run("denoise", picture(), restored, "--noise", 20, "--prior", out / "ema", "--device", "cpu")
    assert used.exit_code == 0, used.output
    assert restored.exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--budget", "soon"], "no duration"),
        (["--budget", "1m", "--decay", "2m"], "--decay"),
        (["--channels", "4,4", "--blocks", "1"], "same number of levels"),
        (["--mismatch", "0.1"], "needs a --teacher"),
        (["--distilled", "0.5"], "needs a --teacher or a --told-teacher"),
        (["--told-teacher", WEIGHTS / "photo"], "needs --distilled"),
        (["--patch", "512"], "as large as a patch"),
        (["--data", "nowhere"], "nowhere"),
        (["--init", WEIGHTS / "photo", *SMALL], "too many for"),
    ],
)
def test_what_cannot_be_trained_ends_with_2(
    run: Run, photographs: Path, tmp_path: Path, options: list[str], said: str
) -> None:
    done = run("train", "--data", photographs, "--out", tmp_path / "run", *options)
    assert done.exit_code == 2
    assert said in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_folder_without_photographs_ends_with_2(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = run("train", "--data", tmp_path / "empty", "--out", tmp_path / "run")
    assert done.exit_code == 2 and "no photographs" in done.stderr


def test_every_setting_of_a_training_has_an_option() -> None:
    from models.training import TrainingConfig
    from service.cli.train import train

    renamed = {
        "budget_seconds": "budget",
        "decay_seconds": "decay",
        "validate_every_seconds": "validate_every",
        "checkpoint_every_seconds": "checkpoint_every",
    }
    options = {p.name for p in train.params}
    assert {renamed.get(f.name, f.name) for f in fields(TrainingConfig)} <= options
