"""LPIPS: a learned perceptual distance (Zhang, Isola, Efros, Shechtman, Wang 2018, "The unreasonable effectiveness of
deep features as a perceptual metric"), version 0.1 on AlexNet features."""

from __future__ import annotations

import os
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from restore.errors import CorruptWeightsError, ImageSizeError, ParameterError
from restore.evaluate.luma import compared

#: Weights looked for under the folder that PELLUCID_DATASETS names.
WEIGHTS = Path("metrics") / "lpips_alex_v0.1.safetensors"

#: AlexNet's convolutions in torchvision's numbering: (index, shape, stride, padding, pooled before).
LAYERS: tuple[tuple[int, tuple[int, int, int, int], int, int, bool], ...] = (
    (0, (64, 3, 11, 11), 4, 2, False),
    (3, (192, 64, 5, 5), 1, 2, True),
    (6, (384, 192, 3, 3), 1, 1, True),
    (8, (256, 384, 3, 3), 1, 1, False),
    (10, (256, 256, 3, 3), 1, 1, False),
)

#: Mean and deviation that version 0.1 takes off a picture in [-1, 1].
SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)

#: Below this AlexNet's two poolings leave nothing.
SMALLEST = 31


class LPIPS:
    """The distance; smaller is closer.

    The weights are not part of the package.

    Args:
        path: safetensors file with `features.{0,3,6,8,10}.{weight,bias}` (torchvision's AlexNet) and
            `lin{0..4}.weight` (version 0.1); by default metrics/lpips_alex_v0.1.safetensors in the folder that the
            environment variable PELLUCID_DATASETS names.
        device: where to compute.

    Raises:
        ParameterError: there is no such file.
        CorruptWeightsError: the file does not hold these weights.
    """

    def __init__(self, path: str | PathLike[str] | None = None, *, device: str | torch.device = "cpu") -> None:
        self._weights = _load(_locate(path), torch.device(device))
        self._shift = torch.tensor(SHIFT, device=device).view(1, 3, 1, 1)
        self._scale = torch.tensor(SCALE, device=device).view(1, 3, 1, 1)

    @torch.no_grad()
    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """Distance of each pair.

        Args:
            a: [N, 3, H, W] in [-1, 1], at least 31 pixels on a side.
            b: shaped as a.

        Returns:
            [N] float32.

        Raises:
            ImageValueError: shapes that differ.
            ImageSizeError: smaller than the network can see.
        """
        compared(a, b, 0)
        if min(a.shape[-2:]) < SMALLEST:
            raise ImageSizeError(f"LPIPS needs pictures of at least {SMALLEST}x{SMALLEST}, not {list(a.shape[-2:])}")
        distance = torch.zeros(a.shape[0], device=self._shift.device)
        for i, (f, g) in enumerate(zip(self._features(a), self._features(b), strict=True)):
            difference = (F.normalize(f, eps=1e-10) - F.normalize(g, eps=1e-10)).square()
            distance += F.conv2d(difference, self._weights[f"lin{i}.weight"]).mean(dim=(1, 2, 3))
        return distance

    def _features(self, x: Tensor) -> list[Tensor]:
        x = (x.to(self._shift) - self._shift) / self._scale
        found = []
        for index, _, stride, padding, pooled in LAYERS:
            weight, bias = self._weights[f"features.{index}.weight"], self._weights[f"features.{index}.bias"]
            x = F.max_pool2d(x, 3, 2) if pooled else x
            x = F.relu(F.conv2d(x, weight, bias, stride, padding))
            found.append(x)
        return found


def _locate(path: str | PathLike[str] | None) -> Path:
    if path is not None:
        chosen, advice = Path(path), "give the path of an existing file"
    elif folder := os.environ.get("PELLUCID_DATASETS"):
        chosen, advice = Path(folder) / WEIGHTS, "put the file there or give its path"
    else:
        raise ParameterError(
            f"LPIPS needs its weights, which are not part of the package: give their path, or set PELLUCID_DATASETS to "
            f"a folder that holds {WEIGHTS.as_posix()}"
        )
    if not chosen.is_file():
        raise ParameterError(f"no LPIPS weights at {chosen}: {advice}")
    return chosen


def _load(path: Path, device: torch.device) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    expected: dict[str, tuple[int, ...]] = {}
    for number, (index, shape, _, _, _) in enumerate(LAYERS):
        expected[f"features.{index}.weight"] = shape
        expected[f"features.{index}.bias"] = shape[:1]
        expected[f"lin{number}.weight"] = (1, shape[0], 1, 1)
    try:
        weights: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError) as error:
        raise CorruptWeightsError(f"{path} is not a readable safetensors file: {error}") from error
    for name, wanted in expected.items():
        if name not in weights or tuple(weights[name].shape) != wanted:
            found = list(weights[name].shape) if name in weights else "missing"
            raise CorruptWeightsError(
                f"{path} does not hold LPIPS weights: {name} should be {list(wanted)}, is {found}"
            )
    return {name: weights[name].to(device, torch.float32) for name in expected}
