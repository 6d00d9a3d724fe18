"""What the shipped estimators of exposure and colour have in common."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from models import colour, exposure
from restore.errors import CorruptWeightsError

ESTIMATORS = [
    pytest.param(exposure.WEIGHTS, exposure.load_estimator, 1_000_000, id="exposure"),
    pytest.param(colour.WEIGHTS, colour.load_estimator, 8_000_000, id="colour"),
]
each = pytest.mark.parametrize(("shipped", "load", "most"), ESTIMATORS)
Load = Callable[[Path], object]


@each
def test_it_is_small(shipped: Path, load: Load, most: int) -> None:
    assert sum(path.stat().st_size for path in shipped.iterdir()) < most
    assert load(shipped)


@each
def test_changed_weights_are_refused(shipped: Path, load: Load, most: int, tmp_path: Path) -> None:
    folder = tmp_path / "changed"
    shutil.copytree(shipped, folder)
    weights = folder / "diffusion_pytorch_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(bytes(content))
    with pytest.raises(CorruptWeightsError, match="safetensors"):
        load(folder)


@each
def test_a_missing_folder_is_named(shipped: Path, load: Load, most: int, tmp_path: Path) -> None:
    with pytest.raises(CorruptWeightsError, match="nowhere"):
        load(tmp_path / "nowhere")
