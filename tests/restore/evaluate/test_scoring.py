import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from restore.errors import ParameterError
from restore.evaluate import report
from restore.evaluate.scoring import METRICS, Settings, evaluate

SHARP = ("psnr", "ssim")


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two pairs: one off by 10 everywhere, one equal; and one file alone on each side."""
    grey = np.random.default_rng(0).integers(20, 200, (40, 50, 3))
    results, references = tmp_path / "results", tmp_path / "references"
    save(references / "a.png", grey)
    save(results / "a.bmp", grey + 10)
    save(references / "deep" / "b.png", grey)
    save(results / "deep" / "b.png", grey)
    save(references / "lonely.png", grey)
    save(results / "stray.png", grey)
    return results, references


def test_scores_by_hand(folders: tuple[Path, Path]) -> None:
    evaluation = evaluate(*folders, Settings(SHARP))
    first, second = evaluation.images
    assert (first["name"], second["name"]) == ("a", "deep/b")
    assert first["psnr"] == pytest.approx(10.0 * math.log10(255.0**2 / 100.0))
    assert second["psnr"] == math.inf
    assert second["ssim"] == pytest.approx(1.0)
    assert evaluation.warnings == ["no reference for stray", "no result for lonely"]
    assert evaluation.summary()["ssim"]["worst"] == first["ssim"]


def test_two_files_make_a_pair(folders: tuple[Path, Path]) -> None:
    evaluation = evaluate(folders[0] / "a.bmp", folders[1] / "a.png", Settings(("psnr",)))
    assert [entry["psnr"] for entry in evaluation.images] == [pytest.approx(28.13, abs=0.01)]


def test_what_cannot_be_computed_is_said(folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PELLUCID_DATASETS", raising=False)
    evaluation = evaluate(*folders, Settings(("psnr", "lpips", "niqe", "fid")))
    assert set(evaluation.missing) == {"lpips", "niqe", "fid"}
    assert set(evaluation.summary()) == {"psnr"}
    text = report.table(evaluation)
    assert "LPIPS: not computed: " in text
    assert "FID (Inception): not computed: " in text


def test_a_pair_of_two_sizes_is_an_error_of_that_pair(folders: tuple[Path, Path]) -> None:
    results, references = folders
    save(results / "lonely.png", np.zeros((40, 49, 3)))
    evaluation = evaluate(results, references, Settings(SHARP))
    (failed,) = evaluation.failed
    assert failed["name"] == "lonely"
    assert "49x40" in failed["error"]
    assert len(evaluation.values("psnr")) == 2


def test_folders_without_a_pair_are_refused(folders: tuple[Path, Path], tmp_path: Path) -> None:
    results, references = folders
    with pytest.raises(ParameterError, match="no such"):
        evaluate(results, tmp_path / "nowhere")
    with pytest.raises(ParameterError, match="two files, or two folders"):
        evaluate(results / "a.bmp", references)
    with pytest.raises(ParameterError, match="no pictures of the same name"):
        evaluate(results / "deep", references)
    save(results / "a.png", np.zeros((4, 4, 3)))
    with pytest.raises(ParameterError, match="one name"):
        evaluate(results, references)


def test_settings_are_checked() -> None:
    with pytest.raises(ParameterError, match="known: psnr"):
        Settings(("sharpness",))
    with pytest.raises(ParameterError, match="crop"):
        Settings(crop=-1)


def test_report_has_every_picture_and_a_plot(folders: tuple[Path, Path], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    evaluation = evaluate(*folders, Settings(SHARP))
    written = report.write(evaluation, tmp_path / "out")
    assert {path.name for path in written} == {f"evaluation.{suffix}" for suffix in ("json", "md", "svg", "png")}
    stored = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert [entry["name"] for entry in stored["images"]] == ["a", "deep/b"]
    assert stored["images"][1]["psnr"] is None  # infinite
    assert stored["summary"]["ssim"]["pictures"] == 2
    assert "| deep/b | inf | 1.0000 |" in (tmp_path / "out" / "evaluation.md").read_text()
    with Image.open(tmp_path / "out" / "evaluation.png") as plot:
        assert plot.width > 300


def test_metric_names_are_their_keys() -> None:
    assert all(name == metric.name for name, metric in METRICS.items())
