"""Training of the exposure estimator: photographs darkened as a camera would, and the error after brightening."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.exposure import ExposureNetwork, describe, to_linear, to_srgb, tone_curve
from models.small_training import divided, fit, held_out, photographs, write

SIZE = 64  # of the pictures that are darkened; the thumbnail averages them further
WELL_EXPOSED = (0.2, 0.8)  # mean sRGB of a photograph that may stand for a normal exposure
NEUTRAL = 0.4  # standard deviation over channels of log2 of the mean sRGB: beyond it lie sunsets and coloured light
SHADOW = 0.2  # sRGB below which a pixel is shadow


def load_photographs(folder: Path, crops: int = 16, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Random crops of well exposed photographs, scaled to SIZE x SIZE: (training, validation), uint8 NCHW.

    One photograph in 16, chosen by its name, is for validation. Crops keep 45-100 % of each side.

    Raises:
        FileNotFoundError: the folder holds no well exposed photograph.
    """
    crops_of = _crops(folder, crops, np.random.default_rng(seed))
    return divided(crops_of, f"no well exposed photographs in {folder}")


def _crops(folder: Path, crops: int, rng: np.random.Generator) -> Iterator[tuple[bool, NDArray[np.uint8]]]:
    for path in photographs(folder):
        picture = cv2.imread(str(path), cv2.IMREAD_REDUCED_COLOR_2)
        if picture is None or min(picture.shape[:2]) < 64:
            continue
        height, width = picture.shape[:2]
        for _ in range(crops):
            share = rng.uniform(0.45, 1.0)
            h, w = int(height * share), int(width * share)
            top, left = rng.integers(height - h + 1), rng.integers(width - w + 1)
            crop = cv2.resize(picture[top : top + h, left : left + w, ::-1], (SIZE, SIZE), interpolation=cv2.INTER_AREA)
            cast = np.log2(np.maximum(crop.mean((0, 1)), 1.0)).std()
            if WELL_EXPOSED[0] < crop.mean() / 255.0 < WELL_EXPOSED[1] and cast < NEUTRAL:
                yield held_out(path), np.asarray(crop, np.uint8)


def darken(bright: Tensor, generator: torch.Generator) -> Tensor:
    """What a camera would have recorded in too little light.

    Args:
        bright: [N, 3, H, W] sRGB in [0, 1].
        generator: of every random number.

    Returns:
        [N, 3, H, W] sRGB in [0, 1] on 8-bit levels: 0.5-6 stops less exposure, a wrong white balance and colour
        matrix, vignetting, flare or a cut black level, Poisson-Gaussian noise (half of the time blotchy, as
        demosaicking leaves it), another tone curve, JPEG.
    """
    n, _, height, width = bright.shape

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(n, *shape, 1, 1, generator=generator)

    def sometimes(share: float) -> Tensor:
        return (torch.rand(n, 1, 1, 1, generator=generator) < share).float()

    light = to_linear(bright)
    # The photograph's own rendering was not linear: undo a random amount of contrast, and of the shoulder that
    # squeezes highlights up to four stops above white into the picture (inverse of Reinhard et al. 2002, eq. 3).
    light = light ** uniform(0.85, 1.3, 1)
    shoulder = 1.0 - torch.exp2(-uniform(0.0, 4.0, 1) * sometimes(0.8))
    light = light / (1.0 - shoulder * light)
    cast = uniform(-1.8, 1.8, 3) * uniform(0.1, 1.1, 1)
    light = light * torch.exp2(cast - cast.amax(1, keepdim=True).clamp_min(0.0) * 0.7 - uniform(0.5, 6.0, 1))
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    light = light * (1.0 - uniform(0.0, 0.3, 1) * sometimes(0.5) * (x * x + y * y) / 2.0)
    # A colour matrix that does not fit the sensor or the light: colours too weak or too strong, and clipped.
    mixing = uniform(-0.3, 0.3, 3, 3)[:, :, :, 0, 0] * sometimes(0.6)[:, :, :, 0]
    mixing = mixing - torch.diag_embed(mixing.sum(2)) + torch.eye(3)
    light = torch.einsum("nij,njhw->nihw", mixing, light)
    shot, read = torch.exp2(uniform(-15.0, -9.0, 1)), torch.exp2(uniform(-14.0, -9.0, 1))
    noise = torch.randn(light.shape, generator=generator)
    coarse = torch.nn.functional.avg_pool2d(noise, 3, 1, 1) * 3.0
    noise = torch.where(sometimes(0.5) > 0, noise, coarse)
    light = light + noise * (shot * light.clamp_min(0.0) + read.square()).sqrt()
    level = light.clamp_min(0.0).mean((1, 2, 3), keepdim=True)
    # Flare and black level do not shrink with the exposure: in the dark they are as large as the picture itself.
    light = light + level * (uniform(-0.1, 0.2, 1) + uniform(-0.1, 1.0, 3) * uniform(0.0, 1.0, 1)) * sometimes(0.8)
    encoded = to_srgb(light.clamp(0.0, 1.0)) ** uniform(0.85, 1.2, 1)
    pictures = (encoded * 255.0).round().clamp(0, 255).to(torch.uint8)
    for row in torch.nonzero(torch.rand(n, generator=generator) < 0.3).flatten().tolist():
        quality = int(torch.randint(70, 98, (1,), generator=generator))
        pixels = np.ascontiguousarray(pictures[row].permute(1, 2, 0).numpy())
        coded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        pictures[row] = torch.from_numpy(cv2.imdecode(coded, cv2.IMREAD_COLOR)).permute(2, 0, 1)
    return pictures.float() / 255.0


def exposure_loss(network: ExposureNetwork, dark: Tensor, bright: Tensor) -> tuple[Tensor, Tensor]:
    """(loss, mean PSNR in dB of the brightened thumbnails).

    The loss is the root mean squared error of each picture in sRGB, plus that of its colour (what is left of the
    difference without its mean over channels), where shadows count five times because a tinted black is seen at
    once, plus a little roughness of the tone curve's slopes.
    """
    thumbnail, quantiles = describe(dark, network.thumbnail)
    target = torch.nn.functional.interpolate(bright, thumbnail.shape[-2:], mode="area")
    black, log_gain, slopes = network(thumbnail, quantiles)
    out = tone_curve(to_linear(thumbnail).flatten(2), black, log_gain, slopes, network.reach)
    difference = out - target.flatten(2)
    mse = difference.square().mean((1, 2))
    shadows = 1.0 + 4.0 * (target.flatten(2).amax(1) < SHADOW).float()
    cast = (shadows * (difference - difference.mean(1, keepdim=True)).square().mean(1)).mean(1)
    roughness = slopes.log().diff(n=2, dim=1).square().mean()
    loss = (mse + 1e-5).sqrt().mean() + (cast + 1e-5).sqrt().mean() + 0.01 * roughness
    return loss, (-10.0 * mse.detach().clamp_min(1e-8).log10()).mean()


def train_estimator(
    data: Path, out: Path, *, seconds: float = 480.0, batch: int = 32, rate: float = 2e-3, seed: int = 0
) -> Iterator[dict[str, Any]]:
    """Train for a time budget and write the weights that did best on held-out photographs, config and digest to `out`;
    yields rows of numbers on the way.

    Args:
        data: folder of well exposed photographs.
        out: folder to write.
        seconds: length of the training loop; the learning rate falls to zero along a cosine.
        batch: pictures a step.
        rate: AdamW's learning rate at the start.
        seed: of crops, darkening and weights.

    Raises:
        FileNotFoundError: no well exposed photograph in `data`.
    """
    train, validation = load_photographs(data, seed=seed)
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    network = ExposureNetwork()

    def loss(network: ExposureNetwork) -> Tensor:
        rows = torch.randint(len(train), (batch,), generator=generator)
        bright = train[rows].float() / 255.0
        if torch.rand(1, generator=generator) < 0.5:
            bright = bright.flip(3)
        return exposure_loss(network, darken(bright, generator), bright)[0]

    average, steps = yield from fit(
        network, loss, lambda average: validate(average, validation),
        name="psnr", seconds=seconds, rate=rate, weight_decay=1e-2,
    )  # fmt: skip
    psnr = validate(average, validation)
    write(average, out, steps=steps, photographs_psnr=psnr)
    yield {"step": steps, "seconds": round(seconds), "psnr": psnr, "done": True}


@torch.no_grad()
def validate(network: ExposureNetwork, pictures: Tensor) -> float:
    """Mean PSNR in dB of brightened thumbnails of held-out photographs, darkened with fixed random numbers."""
    bright = pictures[:: max(1, len(pictures) // 128)].float() / 255.0
    dark = darken(bright, torch.Generator().manual_seed(7))
    return round(exposure_loss(network, dark, bright)[1].item(), 3)
