import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from restore.evaluate.scoring import METRICS
from service.cli.evaluate import METRIC_NAMES
from service.cli.main import cli


@pytest.fixture
def pair(tmp_path: Path) -> list[str]:
    paths = []
    for name, value in (("result.png", 110), ("reference.png", 100)):
        Image.fromarray(np.full((40, 40, 3), value, np.uint8)).save(tmp_path / name)
        paths.append(str(tmp_path / name))
    return paths


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["evaluate", "-q", *arguments])


def test_prints_a_table(pair: list[str]) -> None:
    result = run(*pair, "--metric", "psnr", "--metric", "ssim")
    assert result.exit_code == 0
    assert "| PSNR, dB | higher | 28.13 |" in result.stdout
    assert "SSIM-Y" not in result.stdout


def test_prints_json_and_writes_a_folder(pair: list[str], tmp_path: Path) -> None:
    result = run(*pair, "--metric", "psnr", "--json", "--crop", "4", "--out", str(tmp_path / "out"))
    assert result.exit_code == 0
    printed = json.loads(result.stdout)
    assert printed["crop"] == 4
    assert printed["images"][0]["psnr"] == pytest.approx(28.13, abs=0.01)
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text()) == printed


def test_ends_with_1_when_a_pair_cannot_be_compared(pair: list[str], tmp_path: Path) -> None:
    Image.fromarray(np.zeros((30, 40, 3), np.uint8)).save(pair[1])
    result = run(*pair, "--metric", "psnr")
    assert result.exit_code == 1
    assert "not compared" in result.stdout
    assert run(str(tmp_path / "nowhere"), pair[1]).exit_code == 2


def test_offers_every_metric() -> None:
    assert tuple(METRICS) == METRIC_NAMES
