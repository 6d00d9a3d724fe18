import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from restore.errors import CorruptWeightsError, ImageSizeError, ParameterError
from restore.evaluate import LPIPS
from restore.evaluate.lpips import LAYERS, WEIGHTS


@pytest.fixture(scope="module")
def random_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of the right layout with random features and positive weights of the distance."""
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for number, (index, shape, *_) in enumerate(LAYERS):
        fan_in = shape[1] * shape[2] * shape[3]
        weights[f"features.{index}.weight"] = torch.randn(shape, generator=generator) * (2 / fan_in) ** 0.5
        weights[f"features.{index}.bias"] = torch.zeros(shape[0])
        weights[f"lin{number}.weight"] = torch.rand(1, shape[0], 1, 1, generator=generator)
    path = tmp_path_factory.mktemp("lpips") / "random.safetensors"
    save_file(weights, path)
    return path


@pytest.fixture
def waves() -> tuple[Tensor, Tensor]:
    y, x = torch.meshgrid(torch.linspace(0, 1, 64), torch.linspace(0, 1, 80), indexing="ij")
    a = torch.stack([torch.sin(12 * x + 3 * y), torch.cos(9 * y * x), torch.sin(20 * x * y + 1)])[None] * 0.8
    b = (a + 0.3 * torch.cos(40 * x) * torch.sin(31 * y)).clamp(-1, 1)
    return torch.cat([a, a]), torch.cat([b, a.roll(3, -1)])


def test_distance_to_itself_is_zero_and_symmetric(random_weights: Path, waves: tuple[Tensor, Tensor]) -> None:
    distance = LPIPS(random_weights)
    a, b = waves
    assert torch.equal(distance(a, a), torch.zeros(2))
    assert (distance(a, b) > 0).all()
    assert torch.allclose(distance(a, b), distance(b, a))


def test_a_picture_scores_the_same_alone_and_in_a_batch(random_weights: Path, waves: tuple[Tensor, Tensor]) -> None:
    distance = LPIPS(random_weights)
    a, b = waves
    alone = torch.cat([distance(a[:1], b[:1]), distance(a[1:], b[1:])])
    assert torch.allclose(distance(a, b), alone, rtol=1e-4)


def test_first_layer_alone_is_the_weighted_difference_of_unit_features(
    random_weights: Path, waves: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    weights = load_file(random_weights)
    for number in range(1, 5):
        weights[f"lin{number}.weight"] *= 0
    path = tmp_path / "first.safetensors"
    save_file(weights, path)
    a, b = waves
    units = []
    for x in (a, b):
        x = (x - torch.tensor([-0.030, -0.088, -0.188]).view(3, 1, 1)) / torch.tensor([0.458, 0.448, 0.450]).view(
            3, 1, 1
        )
        f = F.conv2d(x, weights["features.0.weight"], stride=4, padding=2).relu()
        units.append(f / (f.square().sum(dim=1, keepdim=True).sqrt() + 1e-10))
    expected = ((units[0] - units[1]).square() * weights["lin0.weight"]).sum(dim=1).mean(dim=(1, 2))
    assert torch.allclose(LPIPS(path)(a, b), expected, rtol=1e-4)


def test_released_weights_give_the_reference_distances(waves: tuple[Tensor, Tensor]) -> None:
    # Computed once with an independent implementation that reproduces the distances of the official example pictures.
    folder = os.environ.get("PELLUCID_DATASETS")
    if folder is None or not (Path(folder) / WEIGHTS).is_file():
        with pytest.raises(ParameterError, match="LPIPS"):
            LPIPS()
        return
    assert LPIPS()(*waves).tolist() == pytest.approx([0.203710, 0.067618], abs=1e-4)


def test_missing_weights_say_where_they_are_looked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PELLUCID_DATASETS", raising=False)
    with pytest.raises(ParameterError, match="PELLUCID_DATASETS"):
        LPIPS()
    monkeypatch.setenv("PELLUCID_DATASETS", str(tmp_path))
    with pytest.raises(ParameterError, match=r"lpips_alex_v0\.1\.safetensors"):
        LPIPS()
    with pytest.raises(ParameterError, match="nowhere"):
        LPIPS(tmp_path / "nowhere")


def test_wrong_files_are_refused(random_weights: Path, tmp_path: Path) -> None:
    garbage = tmp_path / "garbage.safetensors"
    garbage.write_bytes(b"not weights")
    with pytest.raises(CorruptWeightsError, match="garbage"):
        LPIPS(garbage)
    weights = load_file(random_weights)
    del weights["lin3.weight"]
    partial = tmp_path / "partial.safetensors"
    save_file(weights, partial)
    with pytest.raises(CorruptWeightsError, match=r"lin3\.weight"):
        LPIPS(partial)


def test_pictures_too_small_for_the_network_are_refused(random_weights: Path) -> None:
    x = torch.zeros(1, 3, 30, 40)
    with pytest.raises(ImageSizeError, match="31x31"):
        LPIPS(random_weights)(x, x)
    smallest = torch.zeros(1, 3, 31, 31)
    assert torch.isfinite(LPIPS(random_weights)(smallest, smallest)).all()
