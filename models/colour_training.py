"""Training of the colour estimator: photographs, their luma, and the error of the colours."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from models.colour import SIDE, ColourNetwork, differences, luma_of
from models.pretrained import read_verified
from models.small_training import divided, fit, held_out, photographs, write

#: Side of the stored crops: those that the network sees are cut out of them anew in each step.
STORED = SIDE + 32
#: Mean absolute difference of the channels from luma (0-255) below which a photograph has no colours to learn.
COLOURLESS = 3.0
#: Weight of what the variance is fitted by, beside the squared error over `TYPICAL` (colour's variance, range [-1, 1]).
VARIANCE_WEIGHT, TYPICAL = 0.05, 0.02


def load_photographs(folder: Path, crops: int = 10, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Random crops of photographs that have colour, scaled to STORED x STORED: (training, validation), uint8 NCHW.

    One photograph in 16, chosen by its name, is for validation. Crops keep 50-100 % of the shorter side.

    Raises:
        FileNotFoundError: the folder holds no colour photograph.
    """
    return divided(_crops(folder, crops, np.random.default_rng(seed)), f"no colour photographs in {folder}")


def _crops(folder: Path, crops: int, rng: np.random.Generator) -> Iterator[tuple[bool, NDArray[np.uint8]]]:
    for path in photographs(folder):
        picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if picture is None or min(picture.shape[:2]) < 64:
            continue
        values = picture.astype(np.float32)
        if np.abs(values - values.mean(2, keepdims=True)).mean() < COLOURLESS:
            continue
        height, width = picture.shape[:2]
        for _ in range(crops):
            side = int(min(height, width) * rng.uniform(0.5, 1.0))
            top, left = rng.integers(height - side + 1), rng.integers(width - side + 1)
            crop = picture[top : top + side, left : left + side, ::-1]
            yield held_out(path), np.asarray(cv2.resize(crop, (STORED, STORED), interpolation=cv2.INTER_AREA), np.uint8)


def varied(stored: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Another look at each photograph: what the network sees and the colours it is asked for.

    Args:
        stored: [N, 3, STORED, STORED] sRGB in [0, 1].
        generator: of every random number.

    Returns:
        luma [N, 1, SIDE, SIDE] and the picture [N, 3, SIDE, SIDE], both in [-1, 1]: cut out and mirrored at random,
        other contrast; some of the lumas with noise, or blurred, as old pictures are.
    """
    n = stored.shape[0]

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(n, 1, 1, 1, generator=generator)

    top, left = (int(torch.randint(STORED - SIDE + 1, (1,), generator=generator)) for _ in range(2))
    picture = stored[:, :, top : top + SIDE, left : left + SIDE]
    picture = torch.where(uniform(0, 1) < 0.5, picture.flip(3), picture)
    picture = picture ** torch.exp(uniform(-0.3, 0.3)) * 2.0 - 1.0
    luma = luma_of(picture)
    luma = torch.where(uniform(0, 1) < 0.2, F.avg_pool2d(luma, 3, 1, 1, count_include_pad=False), luma)
    noise = torch.randn(luma.shape, generator=generator) * uniform(0.0, 0.15) * (uniform(0, 1) < 0.3)
    return luma + noise, picture


def colour_loss(network: ColourNetwork, luma: Tensor, picture: Tensor) -> tuple[Tensor, Tensor]:
    """(loss, squared error of colour [N], mean over pixels and channels, range [-1, 1])."""
    red_blue, log_variance = network(luma)
    target = F.avg_pool2d(picture - luma_of(picture), 2)
    error = (differences(red_blue) - target).square().sum(1, keepdim=True)
    likelihood = error.detach() / (2.0 * log_variance.exp()) + log_variance
    loss = error.mean() / TYPICAL + VARIANCE_WEIGHT * likelihood.mean()
    return loss, error.detach().mean((1, 2, 3)) / 3.0


def train_estimator(
    data: Path,
    out: Path,
    *,
    seconds: float = 2400.0,
    batch: int = 32,
    rate: float = 1e-3,
    seed: int = 0,
    start_from: Path | None = None,
) -> Iterator[dict[str, Any]]:
    """Train for a time budget and write the weights that did best on held-out photographs (as float16), config and
    digest to `out`; yields rows of numbers on the way.

    Args:
        data: folder of colour photographs.
        out: folder to write.
        seconds: length of the training loop; the learning rate falls to zero along a cosine.
        batch: pictures a step.
        rate: AdamW's learning rate at the start.
        seed: of crops, variation and weights.
        start_from: folder of earlier weights to go on from.

    Raises:
        FileNotFoundError: no colour photograph in `data`.
    """
    train, validation = load_photographs(data, seed=seed)
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    network = ColourNetwork() if start_from is None else ColourNetwork.from_pretrained(start_from).train()
    network = network.to(memory_format=torch.channels_last)

    def loss(network: ColourNetwork) -> Tensor:
        rows = torch.randint(len(train), (batch,), generator=generator)
        luma, picture = varied(train[rows].float() / 255.0, generator)
        with torch.autocast("cpu", torch.bfloat16):
            return colour_loss(network, luma.contiguous(memory_format=torch.channels_last), picture)[0]

    best, steps = yield from fit(
        network, loss, lambda found: validate(found, validation),
        name="gain", seconds=seconds, rate=rate, weight_decay=5e-2, every=60.0,
    )  # fmt: skip
    gain = validate(best.half().float(), validation)
    write(best.half(), out, steps=steps, gain_over_grey=gain)
    yield {"step": steps, "seconds": round(seconds), "gain": gain, "done": True}


def average(folders: Sequence[Path], out: Path, data: Path) -> float:
    """Write the mean of weights that were trained one from the other, and score it on held-out photographs of `data`.

    Raises:
        FileNotFoundError: no colour photograph in `data`.
        CorruptWeightsError: a folder does not hold what `train_estimator` wrote.
    """
    networks = [read_verified(ColourNetwork, folder, "colour estimator")[0] for folder in folders]
    mean = copy.deepcopy(networks[0])
    for name, parameter in mean.named_parameters():
        parameter.data = torch.stack([network.get_parameter(name).data for network in networks]).mean(0)
    gain = validate(mean.half().float(), load_photographs(data)[1])
    write(mean.half(), out, gain_over_grey=gain)
    return gain


@torch.no_grad()
def validate(network: ColourNetwork, pictures: Tensor) -> float:
    """By how many dB the squared error of all colours of held-out photographs is below that of grey."""
    error = grey = 0.0
    middle = (STORED - SIDE) // 2
    for part in pictures.split(32):
        picture = part[:, :, middle : middle + SIDE, middle : middle + SIDE].float() / 127.5 - 1.0
        luma = luma_of(picture)
        error += float(colour_loss(network, luma, picture)[1].sum())
        grey += float(F.avg_pool2d(picture - luma, 2).square().mean((1, 2, 3)).sum())
    return round(10.0 * math.log10(grey / max(error, 1e-9)), 3)
