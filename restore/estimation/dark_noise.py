"""The noise of a dark photograph: signal-dependent, different in each channel, and correlated between pixels."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

BLOCK = 8
#: Share of each brightness class's blocks, the flattest ones, that are taken for free of texture.
FLAT = 0.2
#: Mean of the lowest fifth of the blocks' variances over their true one, for white noise (simulated, 40,000 blocks).
FLAT_BIAS = 0.642
#: Standard deviations at coarser scales count up to this multiple of the finest one: more would be texture. Measured
#: on camera pictures, demosaicked, scaled down and coded: 1.7 at half, 2.3 at a quarter of the resolution.
MOST_CORRELATED = 2.5
#: Pixels looked at, about: of larger pictures a grid of windows of this side, which holds whole blocks at every scale.
MOST_PIXELS, WINDOW = 2**21, 64


class ChannelNoise:
    """Noise of variance gain (mean + 1) + sigma^2 in each channel: Poisson-Gaussian (Foi et al. 2008, eq. 3) with
    channels of their own. Units: range [-1, 1], black being -1.

    Args:
        gain: [3], not negative.
        sigma: [3], the standard deviation at black.
    """

    def __init__(self, gain: Tensor, sigma: Tensor) -> None:
        self.gain, self.sigma = gain, sigma

    def variance(self, mean: Tensor) -> Tensor:
        """Shaped as `mean` [N, 3, H, W]."""
        gain, sigma = (t.to(mean).view(1, 3, 1, 1) for t in (self.gain, self.sigma))
        return gain * (mean + 1.0).clamp_min(0.0) + sigma.square()

    def sample(self, mean: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """mean + n, white."""
        noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype).to(mean.device)
        return mean + self.variance(mean).sqrt() * noise


def estimate_dark_noise(image: Tensor, classes: int = 6) -> ChannelNoise:
    """Noise parameters of a picture [1, 3, H, W] in [-1, 1]; no noise for one too small to tell (below 16 pixels).

    White noise has the same standard deviation after averaging s x s pixels and multiplying by s. A camera's noise,
    after demosaicking, scaling and coding, has more of it at coarse scales, where it shows as blotches; a denoiser
    told the fine-scale level would leave these. So the level is the largest of those at full, half and quarter
    resolution, each from the flattest blocks of each class of brightness.
    """
    if min(image.shape[-2:]) < 2 * BLOCK:
        return ChannelNoise(torch.zeros(3), torch.zeros(3))
    planes = _windows(image[:1, :3].float().cpu()).contiguous()
    means, finest = _levels(planes, classes)
    variances = finest
    for scale in (2, 4):
        if min(image.shape[-2:]) // scale < 4 * BLOCK:
            break
        planes = _halved(planes)
        coarse = _levels(planes, classes)[1] * scale**2
        variances = torch.maximum(variances, torch.minimum(coarse, MOST_CORRELATED**2 * finest))
    lines = [_line(x, y) for x, y in zip(means + 1.0, variances, strict=True)]
    gains, floors = zip(*lines, strict=True)
    return ChannelNoise(torch.stack(gains), torch.stack(floors).sqrt())


def _windows(picture: Tensor) -> Tensor:
    """[K, 3, h, w]: a picture [1, 3, H, W], or windows all over a large one, on the grid of its blocks."""
    height, width = picture.shape[-2:]
    if height * width <= MOST_PIXELS or min(height, width) < WINDOW:
        return picture
    spacing = math.isqrt(height * width * WINDOW**2 // MOST_PIXELS)
    step = max(WINDOW, spacing // BLOCK * BLOCK)
    windows = picture[0].unfold(1, WINDOW, step).unfold(2, WINDOW, step)
    return windows.permute(1, 2, 0, 3, 4).reshape(-1, picture.shape[1], WINDOW, WINDOW)


def _halved(planes: Tensor) -> Tensor:
    """Means of 2 x 2 pixels, in a quarter of the time of a general pooling."""
    height, width = (side // 2 * 2 for side in planes.shape[-2:])
    upper, lower = planes[..., 0:height:2, :], planes[..., 1:height:2, :]
    rows = upper + lower
    return (rows[..., 0:width:2] + rows[..., 1:width:2]) / 4.0


def _levels(planes: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Mean and noise variance [C, classes] of each class of brightness of [K, C, h, w], from the diagonal Haar details
    of its flattest blocks."""
    down = planes[..., :-1, :] - planes[..., 1:, :]
    detail = (down[..., :-1] - down[..., 1:]) / 2.0
    # A block of 8 x 8 pixels has 7 x 7 details that see no other block.
    variance = F.avg_pool2d(detail.square(), BLOCK - 1, BLOCK).transpose(0, 1).flatten(1)
    mean = F.avg_pool2d(planes, BLOCK).transpose(0, 1).flatten(1)
    count = mean.shape[1]
    order = mean.argsort(1)
    means, levels = [], []
    for part in order.chunk(min(classes, max(1, count // 8)), dim=1):
        flattest = variance.gather(1, part).sort(1).values[:, : max(1, int(FLAT * part.shape[1]))]
        means.append(mean.gather(1, part).mean(1))
        levels.append(flattest.mean(1) / FLAT_BIAS)
    means += [means[-1]] * (classes - len(means))
    levels += [levels[-1]] * (classes - len(levels))
    return torch.stack(means, 1), torch.stack(levels, 1)


def _line(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Slope and offset >= 0 of the least-squares line, relative errors weighing equally."""
    weight = 1.0 / (y + y.mean() * 0.1 + 1e-12).square()
    weight = weight / weight.sum()
    mx, my = (weight * x).sum(), (weight * y).sum()
    spread = (weight * (x - mx).square()).sum()
    slope = (weight * (x - mx) * (y - my)).sum() / spread.clamp_min(1e-12)
    slope = slope.clamp_min(0.0)
    offset = my - slope * mx
    if offset < 0:
        offset = torch.zeros_like(offset)
        slope = (weight * x * y).sum() / (weight * x * x).sum().clamp_min(1e-12)
    return slope, offset
