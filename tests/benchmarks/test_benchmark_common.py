import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from restore.prior import GaussianDenoiser


def white_prior() -> GaussianDenoiser:
    """Independent pixels of variance 0.25 around grey."""
    return GaussianDenoiser(torch.zeros(3, 8, 8), spectrum=torch.full((8, 8), 0.25))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, value in (("b", 255), ("a", 0)):
        Image.fromarray(np.full((6, 10, 3), value, dtype=np.uint8)).save(tmp_path / f"{name}.png")
    return tmp_path


def test_pictures_come_sorted_in_the_core_range(folder: Path) -> None:
    import common

    found = common.pictures(folder)
    assert [name for name, _ in found] == ["a", "b"]
    assert found[0][1].shape == (1, 3, 6, 10)
    assert [x.unique().tolist() for _, x in found] == [[-1.0], [1.0]]
    assert len(common.pictures(folder, 1)) == 1


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    import common

    with pytest.raises(SystemExit, match=tmp_path.name):
        common.pictures(tmp_path)


def test_centre_crops_to_the_middle_and_a_multiple() -> None:
    import common

    x = torch.arange(10.0).view(1, 1, 1, 10).expand(1, 3, 7, 10)
    assert common.centre(x, 100, 4).shape == (1, 3, 4, 8)
    assert common.centre(x, 4)[0, 0, 0].tolist() == [3.0, 4.0, 5.0, 6.0]


def test_noise_depends_on_the_name_only() -> None:
    import common

    first = common.noise_for("baby", (1, 3, 16, 16))
    assert torch.equal(first, common.noise_for("baby", (1, 3, 16, 16)))
    assert not torch.equal(first, common.noise_for("bird", (1, 3, 16, 16)))
    assert abs(first.std().item() - 1.0) < 0.1


def test_a_tensor_is_restored_without_clipping_the_measurement() -> None:
    import common

    denoiser = white_prior()
    y = torch.full((1, 3, 8, 8), 1.4)
    restored = common.restore_tensor(denoiser, y, "denoise", noise=25.5, fidelity=1.0, steps=1)
    assert torch.allclose(restored, y * 0.25 / (0.25 + 0.2**2), atol=1e-3)


def test_calls_and_seconds_are_counted() -> None:
    import common

    timed = common.Timed(white_prior())
    for _ in range(3):
        timed(torch.zeros(1, 3, 8, 8), torch.ones(1))
    assert timed.calls == 3
    assert timed.seconds > 0.0


def test_a_report_holds_its_circumstances(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import common

    table = common.Table("Scores", ["method", "dB"], digits=1)
    table.add("ours", 31.26)
    table.add("unknown", None)
    facts = common.circumstances(None)
    common.report(tmp_path, "trial", "A trial", [table], ["one note"], facts)
    text = (tmp_path / "trial.md").read_text()
    assert text.strip() == capsys.readouterr().out.strip()
    assert "| ours | 31.3 |" in text
    assert "| unknown | - |" in text
    assert "- one note" in text
    assert "benchmark.py --images 1" in text
    stored = json.loads((tmp_path / "trial.json").read_text())
    assert stored["tables"][0]["rows"] == [["ours", 31.26], ["unknown", None]]
    assert stored["machine"]["cores"] >= 1
    assert stored["packages"]["torch"] in torch.__version__
    assert stored["revision"]


def test_the_command_is_stored_without_folders_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import sys

    import common

    monkeypatch.setattr(sys, "argv", [str(tmp_path / "denoise.py"), "--data", str(tmp_path), "--images", "2"])
    assert common.circumstances(None)["command"] == f"denoise.py --data {tmp_path.name} --images 2"


def test_a_row_must_fit_its_table() -> None:
    import common

    with pytest.raises(ValueError, match="1 cells for 2 columns"):
        common.Table("Scores", ["method", "dB"]).add("ours")


def test_a_ledger_survives_an_interruption(tmp_path: Path) -> None:
    import common

    path = tmp_path / "run.jsonl"
    ledger = common.Ledger(path, {"prior": "one"})
    ledger.put(31.5, "baby", 25)
    ledger.put({"psnr": 27.0}, "baby", 50)
    path.write_text(path.read_text() + '["half-writ')
    again = common.Ledger(path, {"prior": "one"})
    assert again.get("baby", 25) == 31.5
    assert again.get("baby", 50) == {"psnr": 27.0}
    assert again.get("bird", 25) is None
    again.put(30.0, "bird", 25)
    assert common.Ledger(path, {"prior": "one"}).get("bird", 25) == 30.0


def test_a_ledger_forgets_what_was_measured_under_other_circumstances(tmp_path: Path) -> None:
    import common

    path = tmp_path / "run.jsonl"
    common.Ledger(path, {"prior": "one"}).put(31.5, "baby", 25)
    other = common.Ledger(path, {"prior": "two"})
    assert other.get("baby", 25) is None
    other.close()
    assert not path.exists()


def test_missing_data_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    import common

    with pytest.raises(SystemExit):
        common.parse(common.arguments("A trial"), ["--data", "nowhere"])
    assert "PELLUCID_DATASETS" in capsys.readouterr().err
