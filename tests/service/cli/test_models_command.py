from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

Run = Callable[..., Result]
Picture = Callable[..., Path]


@pytest.fixture(scope="module")
def released(tiny_prior: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of released priors with one in it."""
    from models.release import release

    weights = tmp_path_factory.mktemp("weights")
    photographs = [np.random.default_rng(k).integers(0, 256, (64, 64, 3), np.uint8) for k in range(2)]
    release(tiny_prior, weights / "tiny", photographs=photographs, sigmas=(0.02, 0.1, 0.5), size=64)
    return weights


def copied(folder: Path, target: Path) -> Path:
    for file in folder.rglob("*"):
        if file.is_file():
            (target / file.relative_to(folder)).parent.mkdir(parents=True, exist_ok=True)
            (target / file.relative_to(folder)).write_bytes(file.read_bytes())
    return target


def test_list_tells_the_facts(run: Run, released: Path) -> None:
    done = run("models", "list", "--weights", released)
    assert done.exit_code == 0
    assert done.stdout.startswith("tiny\n") and "sha256:" in done.stdout and "DenoisingUNet" in done.stdout
    (row,) = json.loads(run("models", "list", "--weights", released, "--json").stdout)
    assert row["name"] == "tiny" and row["digest"].startswith("sha256:") and row["parameters"] > 0


def test_verify_agrees_with_a_sound_prior(run: Run, released: Path) -> None:
    done = run("models", "verify", "--weights", released)
    assert done.exit_code == 0
    assert done.stdout.startswith("tiny: ok, sha256:")


@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_verify_names_a_damaged_file(run: Run, released: Path, tmp_path: Path, damage: str) -> None:
    weights = copied(released, tmp_path / "weights")
    (file,) = weights.rglob("*.safetensors")
    data = bytearray(file.read_bytes())
    if damage == "flip":
        data[-1] ^= 1
    file.write_bytes(data[:-5] if damage == "cut" else data)
    if damage == "remove":
        file.unlink()
    done = run("models", "verify", "--weights", weights)
    assert done.exit_code == 3 and done.stdout == ""
    assert str(file) in done.stderr and done.stderr.count("\n") == 1
    (outcome,) = json.loads(run("models", "verify", "tiny", "--weights", weights, "--json").stdout)
    assert outcome["digest"] is None and str(file) in outcome["error"]


def test_verify_of_an_unknown_prior_ends_with_3(run: Run, released: Path) -> None:
    done = run("models", "verify", "imaginary", "--weights", released)
    assert done.exit_code == 3
    assert "imaginary" in done.stderr and "tiny" in done.stderr


def test_no_prior_at_all_is_an_error(run: Run, tmp_path: Path) -> None:
    assert run("models", "verify", "--weights", tmp_path).exit_code == 3


def test_a_prior_of_another_distribution_is_found_by_name(
    run: Run, picture: Picture, tmp_path: Path, tiny_prior: Path, monkeypatch: pytest.MonkeyPatch
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
    monkeypatch.syspath_prepend(site)
    done = run("denoise", picture(), tmp_path / "out.png", "--noise", 20, "--prior", "foreign", "--json")
    assert done.exit_code == 0, done.output
    assert (json.loads(done.stdout)["prior"], json.loads(done.stdout)["digest"]) == ("foreign", "sha256:abc")
    assert "foreign" in [row["name"] for row in json.loads(run("models", "list", "--json").stdout)]
    assert run("models", "verify", "foreign").stdout == "foreign: ok, sha256:abc\n"
