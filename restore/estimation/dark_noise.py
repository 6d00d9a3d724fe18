"""The noise of a dark photograph: signal-dependent, different in each channel, and correlated between pixels."""

from __future__ import annotations

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
    gains, sigmas = [], []
    for channel in range(3):
        plane = image[:1, channel : channel + 1].float().cpu()
        means, finest = _levels(plane, classes)
        variances = finest
        for scale in (2, 4):
            if min(plane.shape[-2:]) // scale < 4 * BLOCK:
                break
            coarse = _levels(F.avg_pool2d(plane, scale), classes)[1] * scale**2
            variances = torch.maximum(variances, torch.minimum(coarse, MOST_CORRELATED**2 * finest))
        gain, floor = _line(means + 1.0, variances)
        gains.append(gain)
        sigmas.append(floor.sqrt())
    return ChannelNoise(torch.stack(gains), torch.stack(sigmas))


def _levels(plane: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Mean and noise variance [classes] of each class of brightness, from the diagonal Haar details of its flattest
    blocks."""
    detail = (plane[..., :-1, :-1] - plane[..., 1:, :-1] - plane[..., :-1, 1:] + plane[..., 1:, 1:]) / 2.0
    # A block of 8 x 8 pixels has 7 x 7 details that see no other block.
    variance = F.avg_pool2d(detail.square(), BLOCK - 1, BLOCK).flatten()
    mean = F.avg_pool2d(plane, BLOCK).flatten()
    count = len(mean)
    order = mean.argsort()
    means, levels = [], []
    for part in order.chunk(min(classes, max(1, count // 8))):
        flattest = variance[part].sort().values[: max(1, int(FLAT * len(part)))]
        means.append(mean[part].mean())
        levels.append(flattest.mean() / FLAT_BIAS)
    means += [means[-1]] * (classes - len(means))
    levels += [levels[-1]] * (classes - len(levels))
    return torch.stack(means), torch.stack(levels)


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
