"""A learned exposure estimator: which tone curve and white balance would a normal exposure have had?

    python -m models.exposure train --data PHOTOGRAPHS --out FOLDER

A small network looks at a thumbnail of the dark picture and its quantiles, and answers with the parameters of one
global monotone curve for each channel. The curve is what a camera does: a gain in linear light (exposure, and white
balance between the channels), then a smooth monotone tone curve.
"""

from __future__ import annotations

import argparse
import json
import math
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.pretrained import Pretrained, read_verified, remember_config

WEIGHTS = Path(__file__).parent / "weights" / "exposure"
QUANTILES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999)
DARKEST = 0.02  # share of the pixels that a black level is looked for in
SHADOWS_END = 0.4  # sRGB above which tones are left as they are by `neutral_shadows`
LARGEST_TINT = 0.15  # sRGB that it takes away at most: what is tinted more is no black
FLOOR = 2.0**-12  # linear light below this is black: 1/12 of the first 8-bit step is 2^-15, of noise far more


def to_linear(s: Tensor) -> Tensor:
    """sRGB in [0, 1] to linear light (IEC 61966-2-1)."""
    return torch.where(s <= 0.04045, s / 12.92, ((s.clamp_min(0.0) + 0.055) / 1.055) ** 2.4)


def to_srgb(x: Tensor) -> Tensor:
    """Linear light to sRGB (IEC 61966-2-1); the formula is continued above 1."""
    return torch.where(x <= 0.0031308, 12.92 * x, 1.055 * x.clamp_min(0.0031308) ** (1 / 2.4) - 0.055)


def tone_curve(linear: Tensor, black: Tensor, log_gain: Tensor, slopes: Tensor, reach: float) -> Tensor:
    """sRGB values of the brightened picture: black level, gain, sRGB encoding, then a monotone quadratic spline.

    The spline's derivative runs piecewise linearly through positive `slopes` at equidistant knots, so that the curve
    is smooth and strictly increasing; what lies at the black level comes out as 0, what lies below it as a little
    less (so that the curve can be inverted), bent towards -0.1. Above 0.9 the curve bends towards 1.

    Args:
        linear: [N, 3, M] linear light of the dark picture, in [0, 1].
        black: [N, 3], linear light that is black.
        log_gain: [N, 3], base 2.
        slopes: [N, K], positive.
        reach: encoded value of the last knot.

    Returns:
        [N, 3, M], between -0.1 and 1.
    """
    encoded = to_srgb((linear - black[:, :, None]) * torch.exp2(log_gain)[:, :, None])
    step = reach / (slopes.shape[1] - 1)
    z = encoded.flatten(1) / step
    index = z.detach().floor().long().clamp(0, slopes.shape[1] - 2)
    start = F.pad(torch.cumsum((slopes[:, 1:] + slopes[:, :-1]) / 2, dim=1), (1, 0))
    here, following = slopes.gather(1, index), slopes.gather(1, index + 1)
    f = z - index
    inside = f.clamp(0.0, 1.0)  # beyond the last knot, and below the first, the curve goes on as a straight line
    value = start.gather(1, index) + here * inside + (following - here) * inside.square() / 2
    value = step * (value + (f - inside) * torch.where(f > 1.0, following, here))
    over, under = (value - 0.9).clamp_min(0.0), (-value).clamp_min(0.0)
    bent = value.clamp(0.0, 0.9) + 0.1 * over / (0.1 + over) - 0.1 * under / (0.1 + under)
    return bent.view_as(linear)


class ExposureNetwork(Pretrained):
    """Thumbnail and quantiles to (black level and log2 gain of each channel, slopes of the tone curve).

    The network sees each channel above its level in the darkest pixels and relative to its own mean, and is told both
    besides: a picture one stop darker, under redder light, or with more flare is nearly the same question.

    Args:
        width: channels of the first convolution.
        thumbnail: side length of the thumbnail the picture is averaged to.
        knots: of the tone curve.
        reach: encoded value (after the gain) of the last knot.
        dropout: share of hidden features dropped in training: there are only hundreds of photographs.
    """

    @remember_config
    def __init__(
        self, width: int = 16, thumbnail: int = 32, knots: int = 12, reach: float = 1.8, dropout: float = 0.2
    ) -> None:
        super().__init__()
        self.thumbnail, self.knots, self.reach = thumbnail, knots, reach
        layers: list[nn.Module] = []
        channels = 6
        for out in (width, 2 * width, 4 * width, 6 * width):
            layers += [nn.Conv2d(channels, out, 3, stride=2, padding=1), nn.SiLU()]
            channels = out
        self.see = nn.Sequential(*layers)
        features = 2 * channels + 3 * len(QUANTILES) + 6
        self.decide = nn.Sequential(
            nn.Linear(features, 128),
            nn.SiLU(),
            nn.Dropout(dropout),
            nn.Linear(128, 64),
            nn.SiLU(),
            nn.Dropout(dropout),
            nn.Linear(64, 7 + knots),
        )
        last = self.decide[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, thumbnail: Tensor, quantiles: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Estimate.

        Args:
            thumbnail: [N, 3, S, S] sRGB in [0, 1].
            quantiles: [N, 3, Q] of each channel's sRGB values, Q the length of `QUANTILES`.

        Returns:
            black [N, 3], log2 gain [N, 3] and slopes [N, knots], for `tone_curve`.
        """
        light, tones = to_linear(thumbnail), to_linear(quantiles)
        darkest = _darkest(light)
        level = ((light.mean((2, 3)) - darkest).clamp_min(0.0) + FLOOR).log2()
        relative = _relative(light - darkest[:, :, None, None], level[:, :, None, None])
        seen = self.see(torch.cat([relative, thumbnail], dim=1))
        features = [
            seen.mean((2, 3)),
            seen.amax((2, 3)),
            _relative(tones - darkest[:, :, None], level[:, :, None]).flatten(1),
            ((darkest + FLOOR).log2() - level) / 4.0,
            level / 4.0,
        ]
        out = self.decide(torch.cat(features, dim=1))
        # Black is where the darkest pixels come out alike in all channels, but for a tint of half a stop.
        above = level.exp2()
        rest = torch.sigmoid(out[:, 6:7] - 1.0) * (darkest / above).mean(1, keepdim=True)
        black = (darkest - rest * above * torch.exp2(0.5 * torch.tanh(out[:, 3:6]))).clamp_min(0.0)
        # The start of training: each channel's mean above black brought to 18 % grey (ISO 2720's calibration grey).
        gain = out[:, :3] + math.log2(0.18) - ((light.mean((2, 3)) - black).clamp_min(0.0) + FLOOR).log2()
        return black, gain, F.softplus(out[:, 7:] + 0.5413) + 0.02  # softplus(0.5413) = 1: the identity


def _darkest(light: Tensor) -> Tensor:
    """Mean colour [N, 3] of the darkest pixels of [N, 3, S, S], all channels counting alike.

    Not the lowest value of each channel: where a camera's colour matrix has driven one channel of a saturated colour
    to 0, that channel's level in real black is still far above.
    """
    shares = (light / (light.mean((2, 3), keepdim=True) + FLOOR)).sum(1).flatten(1)
    count = max(1, int(DARKEST * shares.shape[1]))
    rows = shares.topk(count, dim=1, largest=False).indices
    return light.flatten(2).gather(2, rows[:, None].expand(-1, 3, -1)).mean(2)


def _relative(light: Tensor, level: Tensor) -> Tensor:
    """Logarithm of light above black relative to its mean; a 64th of the mean is as good as none."""
    return (light.clamp_min(0.0) * torch.exp2(-level) + 2.0**-6).log2() / 4.0


def describe(image: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """What the network looks at: thumbnail [N, 3, size, size] of sRGB [N, 3, H, W], and its quantiles [N, 3, Q]."""
    thumbnail = F.interpolate(image, (size, size), mode="area")
    levels = torch.tensor(QUANTILES, device=image.device)
    return thumbnail, torch.quantile(thumbnail.flatten(2), levels, dim=2).permute(1, 2, 0)


def neutral_shadows(curve: Tensor, seen: Tensor, light: Tensor) -> Tensor:
    """The curve without the tint that it gives the darkest pixels.

    What the darkest `DARKEST` of the dark thumbnail come out with more of one channel than of the mean of all is taken
    from that channel, wholly at their level and ever less up to `SHADOWS_END`: strong gains of single channels
    otherwise leave blacks navy or purple. On 256 held-out photographs darkened synthetically the tint of shadows (root
    mean square, sRGB in [0, 1]) fell from 0.046 to 0.037 and PSNR rose from 20.02 to 20.08 dB. Pixels chosen by their
    brightened luma gave 0.040 and 20.12 dB; 5 or 10 % of the pixels, or an end at 0.25 or 0.6, were no better.

    Args:
        curve: [3, K] increasing bright sRGB values.
        seen: [3, M] sRGB values of the brightened thumbnail.
        light: [3, M] linear light of the dark thumbnail.

    Returns:
        [3, K], increasing.
    """
    rows = light.sum(0).topk(max(1, int(DARKEST * light.shape[1])), largest=False).indices
    lowest = seen[:, rows].mean(1, keepdim=True)
    tint = (lowest - lowest.mean()).clamp(-LARGEST_TINT, LARGEST_TINT)
    # The curve stays increasing: its slope changes by tint / (end - lowest), above -1 by these bounds.
    fade = ((SHADOWS_END - curve) / (SHADOWS_END - lowest).clamp_min(LARGEST_TINT + 0.05)).clamp(0.0, 1.0)
    return curve - tint * fade


class LearnedExposureEstimator:
    """An `ExposureEstimator` (see restore.estimation.exposure) made of an `ExposureNetwork`.

    Args:
        network: in evaluation mode.
        digest: "sha256:..." of its weights.
    """

    #: Knots of the sampled curve, densest near black, where dark pictures live.
    knots = 1025

    def __init__(self, network: ExposureNetwork, digest: str = "") -> None:
        self.network, self.digest = network, digest

    @torch.no_grad()
    def __call__(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """The curve that brightens `image` [1, 3, H, W] in [-1, 1]: dark knots [K] and bright values [3, K], both
        increasing, in [-1, 1]."""
        picture = (image.float().cpu() + 1.0) / 2.0
        thumbnail, quantiles = describe(picture.clamp(0.0, 1.0), self.network.thumbnail)
        black, log_gain, slopes = self.network(thumbnail, quantiles)
        dark = torch.linspace(0.0, 1.0, self.knots).square()
        bright = tone_curve(to_linear(dark).expand(1, 3, -1), black, log_gain, slopes, self.network.reach)
        light = to_linear(thumbnail).flatten(2)
        seen = tone_curve(light, black, log_gain, slopes, self.network.reach)
        return dark * 2.0 - 1.0, neutral_shadows(bright[0], seen[0], light[0]) * 2.0 - 1.0


@lru_cache(maxsize=2)
def load_estimator(folder: Path = WEIGHTS) -> LearnedExposureEstimator:
    """The shipped estimator, or one that `train` wrote.

    Raises:
        CorruptWeightsError: files are missing, or the weights are not those the folder's `digest.json` records.
    """
    return LearnedExposureEstimator(*read_verified(ExposureNetwork, folder, "exposure estimator"))


def main(arguments: list[str] | None = None) -> None:
    """The command `python -m models.exposure`."""
    from models.exposure_training import train_estimator

    parser = argparse.ArgumentParser(prog="python -m models.exposure", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train", help="train an estimator on photographs darkened synthetically")
    train.add_argument("--data", type=Path, required=True, help="folder of well exposed photographs")
    train.add_argument("--out", type=Path, required=True, help="folder for weights, config and digest")
    train.add_argument("--seconds", type=float, default=480.0, help="time budget of the training loop")
    train.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    row: dict[str, Any]
    for row in train_estimator(options.data, options.out, seconds=options.seconds, seed=options.seed):
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
