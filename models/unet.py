"""The embedded prior's network: a noise-conditional UNet without normalisation."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.pretrained import Pretrained, remember_config

#: Of the residual blocks. Hard swish is within 0.15 of SiLU and takes no exponential.
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"silu": F.silu, "hardswish": F.hardswish}
#: Where FiLM tells the network the noise level: in every residual block, or once where each level begins, down and up.
MODULATIONS = ("blocks", "levels")


class NoiseEmbedding(nn.Module):
    """Sinusoidal features of log(sigma), mapped to one vector per batch row."""

    frequencies: Tensor

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        # Periods from far above to a fraction of the range of log(sigma)/4, as in a positional encoding.
        frequencies = torch.exp(torch.linspace(math.log(0.5), math.log(16.0), features // 2))
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.mlp = nn.Sequential(nn.Linear(features, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())

    def forward(self, sigma: Tensor) -> Tensor:
        phase = (sigma.log() / 4.0)[:, None] * self.frequencies[None, :]
        embedding: Tensor = self.mlp(torch.cat([phase.sin(), phase.cos()], dim=1))
        return embedding


def modulate(x: Tensor, film: Tensor) -> Tensor:
    """FiLM (Perez et al. 2018): x [N, C, H, W] with a scale and a shift of every channel, film [N, 2 C]."""
    scale, shift = film[:, :, None, None].chunk(2, dim=1)
    return x * (1.0 + scale) + shift


def _film(embedding: int, channels: int) -> nn.Linear:
    """A layer that gives FiLM's scales and shifts; at first they change nothing."""
    layer = nn.Linear(embedding, 2 * channels)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class ResidualBlock(nn.Module):
    """conv 3x3, FiLM (Perez et al. 2018) from the noise embedding where it is modulated, activation, conv 3x3, added to
    the input."""

    def __init__(self, channels: int, embedding: int, activation: str, modulated: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.film = _film(embedding, channels) if modulated else None
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.activation = ACTIVATIONS[activation]
        with torch.no_grad():
            self.conv2.weight.mul_(0.2)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.conv1(x)
        if self.film is not None:
            h = modulate(h, self.film(embedding))
        change: Tensor = self.conv2(self.activation(h))
        return x + change


class DenoisingUNet(Pretrained):
    """Noise-conditional, fully convolutional, normalisation-free UNet with EDM preconditioning.

    Pixel-unshuffle by `patch`, then one resolution level per entry of `channels`: `blocks` residual blocks
    down and as many up, `middle` at the bottom, 2x2 strided convolutions between levels and additive skips.
    Without normalisation the output does not depend on the size of the picture, so tiles agree with the whole.

    The preconditioning is Karras et al. 2022 ("EDM"), table 1: with s = sigma_data,
    D(x, sigma) = s^2/(sigma^2+s^2) x + sigma s/sqrt(sigma^2+s^2) F(x/sqrt(sigma^2+s^2), log(sigma)/4).

    Args:
        channels: width of each resolution level, finest first.
        blocks: residual blocks per level in each direction.
        middle: residual blocks at the coarsest level between the two directions.
        patch: factor of the pixel-unshuffle in front of the first level.
        embedding: width of the noise embedding.
        sigma_data: standard deviation of the training data in [-1, 1].
        sigma_min: smallest noise level seen in training.
        sigma_max: largest noise level seen in training.
        activation: one of `ACTIVATIONS`.
        modulation: one of `MODULATIONS`.

    Raises:
        ValueError: an activation or a modulation of another name.
    """

    @remember_config
    def __init__(
        self,
        channels: tuple[int, ...] = (64, 128, 256),
        blocks: tuple[int, ...] = (2, 2, 2),
        middle: int = 2,
        patch: int = 2,
        embedding: int = 128,
        sigma_data: float = 0.5,
        sigma_min: float = 0.01,
        sigma_max: float = 10.0,
        activation: str = "silu",
        modulation: str = "blocks",
    ) -> None:
        if activation not in ACTIVATIONS or modulation not in MODULATIONS:
            raise ValueError(
                f"activation {activation!r} and modulation {modulation!r} must be one of {sorted(ACTIVATIONS)} and of "
                f"{list(MODULATIONS)}"
            )
        super().__init__()
        self.patch = patch
        self.sigma_data = sigma_data
        self.embed = NoiseEmbedding(32, embedding)
        self.head = nn.Conv2d(3 * patch * patch, channels[0], 3, padding=1)
        self.down = nn.ModuleList()
        self.up = nn.ModuleList()
        self.shrink = nn.ModuleList()
        self.grow = nn.ModuleList()

        def stage(width: int, count: int) -> nn.ModuleList:
            inside = modulation == "blocks"
            return nn.ModuleList(ResidualBlock(width, embedding, activation, inside) for _ in range(count))

        for width, count in zip(channels, blocks, strict=True):
            self.down.append(stage(width, count))
            self.up.append(stage(width, count))
        for fine, coarse in pairwise(channels):
            self.shrink.append(nn.Conv2d(fine, coarse, 2, stride=2))
            self.grow.append(nn.ConvTranspose2d(coarse, fine, 2, stride=2))
        self.bottom = stage(channels[-1], middle)
        entered = channels if modulation == "levels" else ()
        self.down_film = nn.ModuleList(_film(embedding, width) for width in entered)
        self.up_film = nn.ModuleList(_film(embedding, width) for width in entered[:-1])
        self.tail = nn.Conv2d(channels[0], 3 * patch * patch, 3, padding=1)
        nn.init.zeros_(self.tail.weight)

    @property
    def multiple_of(self) -> int:
        """Height and width must be divisible by this."""
        return int(self.patch * 2 ** len(self.shrink))

    def network(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The raw network F of the EDM parametrisation; input scaled to unit variance, same shape out."""
        # Beyond the levels it was trained on, the embedding extrapolates without bound.
        embedding = self.embed(sigma.clamp(self.config.sigma_min, self.config.sigma_max))
        h = self.head(F.pixel_unshuffle(x, self.patch))
        skips = []
        for level, stage in enumerate(self.down):
            if level < len(self.down_film):
                h = modulate(h, self.down_film[level](embedding))
            for block in cast(nn.ModuleList, stage):
                h = block(h, embedding)
            skips.append(h)
            if level < len(self.shrink):
                h = self.shrink[level](h)
        for block in self.bottom:
            h = block(h, embedding)
        for level in reversed(range(len(self.up))):
            h = h + skips[level]
            if level < len(self.up_film):
                h = modulate(h, self.up_film[level](embedding))
            for block in cast(nn.ModuleList, self.up[level]):
                h = block(h, embedding)
            if level > 0:
                h = self.grow[level - 1](h)
        return F.pixel_shuffle(self.tail(h), self.patch)

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Denoise.

        Args:
            x: [N, 3, H, W] float32 in [-1, 1] plus noise of standard deviation sigma; H and W divisible by
                `multiple_of`.
            sigma: [N] float32, noise level of each row.

        Returns:
            [N, 3, H, W] float32: the estimate of E[x0 | x0 + sigma n = x].
        """
        s = sigma.float().view(-1, 1, 1, 1)
        total = s.square() + self.sigma_data**2
        c_in = total.rsqrt()
        c_skip = self.sigma_data**2 / total
        c_out = s * self.sigma_data * c_in
        return c_skip * x + c_out * self.network(c_in * x, sigma).float()
