"""The UNet of guided-diffusion, improved-diffusion and the consistency models (Dhariwal and Nichol 2021, "ADM").

Parameters keep the names of those checkpoints; attention is stored in one order (all queries, all keys, all values).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Resampling = Literal["residual", "convolution", "none"]


@dataclass(frozen=True)
class GuidedUNetConfig:
    """The architecture of a `GuidedUNet`.

    Attributes:
        model_channels: width that the multiples refer to.
        channel_multiples: of each resolution level, finest first.
        res_blocks: residual blocks of a level on the way down; one more on the way up.
        attention: whether a level attends.
        out_channels: 3, or 6 with a learned variance.
        resampling: between levels: residual blocks, strided convolutions, or pooling and nearest neighbours.
        scale_shift: whether the noise level scales and shifts (FiLM), or only shifts.
        classes: of a class-conditional network, else 0.
        heads: of every attention; None when `head_channels` counts.
        head_channels: channels of one head.
    """

    model_channels: int
    channel_multiples: tuple[float, ...]
    res_blocks: int
    attention: tuple[bool, ...]
    out_channels: int = 6
    resampling: Resampling = "residual"
    scale_shift: bool = True
    classes: int = 0
    heads: int | None = None
    head_channels: int | None = 64

    def heads_of(self, channels: int) -> int:
        """Attention heads at a width."""
        return self.heads if self.heads is not None else channels // (self.head_channels or channels)

    @property
    def multiple_of(self) -> int:
        """Height and width must be divisible by this."""
        return 1 << (len(self.channel_multiples) - 1)


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(32, channels)


class _Resample(nn.Module):
    """Half or twice the size, with a convolution named as in the checkpoints where there is one."""

    def __init__(self, channels: int, up: bool, convolution: bool) -> None:
        super().__init__()
        self.up = up
        if convolution:
            self.add_module("conv" if up else "op", nn.Conv2d(channels, channels, 3, 1 if up else 2, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        if self.up:
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        elif not self._modules:
            x = F.avg_pool2d(x, 2)
        for layer in self.children():
            x = layer(x)
        return x


class _Residual(nn.Module):
    """Two convolutions around the noise embedding, perhaps with a change of size between norm and first convolution."""

    def __init__(
        self, inside: int, outside: int, embedding: int, scale_shift: bool, resize: Literal["up", "down"] | None = None
    ) -> None:
        super().__init__()
        self.scale_shift = scale_shift
        self.resize = None if resize is None else _Resample(inside, resize == "up", convolution=False)
        self.in_layers = nn.Sequential(_norm(inside), nn.SiLU(), nn.Conv2d(inside, outside, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(embedding, (1 + scale_shift) * outside))
        # The third place is the dropout's, in training.
        self.out_layers = nn.Sequential(
            _norm(outside), nn.SiLU(), nn.Identity(), nn.Conv2d(outside, outside, 3, padding=1)
        )
        self.skip_connection = nn.Identity() if inside == outside else nn.Conv2d(inside, outside, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.in_layers[1](self.in_layers[0](x))
        if self.resize is not None:
            h, x = self.resize(h), self.resize(x)
        h = self.in_layers[2](h)
        modulation = self.emb_layers(embedding)[:, :, None, None]
        if self.scale_shift:
            scale, shift = modulation.chunk(2, dim=1)
            h = self.out_layers[0](h) * (1 + scale) + shift
            h = self.out_layers[3](self.out_layers[1](h))
        else:
            h = self.out_layers(h + modulation)
        result: Tensor = self.skip_connection(x) + h
        return result


class Attention(nn.Module):
    """Self-attention over all pixels, added to the input."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = _norm(channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        n, c, height, width = x.shape
        parts = self.qkv(self.norm(x)).reshape(n, 3, self.heads, c // self.heads, height * width).transpose(3, 4)
        mixed = F.scaled_dot_product_attention(*parts.unbind(1))
        change: Tensor = self.proj_out(mixed.transpose(2, 3).reshape(n, c, height, width))
        return x + change


class _Stage(nn.ModuleList):
    """Layers one after another, those that want it given the embedding."""

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        for layer in self:
            x = layer(x, embedding) if isinstance(layer, _Residual) else layer(x)
        return x


class GuidedUNet(nn.Module):
    """The raw network: (x [N, 3, H, W] of about unit variance, t [N] timesteps) -> [N, out_channels, H, W].

    Args:
        config: its architecture.
        class_label: the class that a class-conditional network is asked for; None takes the mean of all classes'
            embeddings, the nearest thing to no class in a network that was always told one.
    """

    def __init__(self, config: GuidedUNetConfig, class_label: int | None = None) -> None:
        super().__init__()
        self.config, self.class_label = config, class_label
        base, levels = config.model_channels, len(config.channel_multiples)
        embedding = 4 * base
        self.time_embed = nn.Sequential(nn.Linear(base, embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        self.label_emb = nn.Embedding(config.classes, embedding) if config.classes else None
        widths = [int(multiple * base) for multiple in config.channel_multiples]

        def residual(inside: int, outside: int, resize: Literal["up", "down"] | None = None) -> _Residual:
            return _Residual(inside, outside, embedding, config.scale_shift, resize)

        def resample(channels: int, direction: Literal["up", "down"]) -> nn.Module:
            if config.resampling == "residual":
                return residual(channels, channels, direction)
            return _Resample(channels, direction == "up", config.resampling == "convolution")

        def attention(channels: int, level: int | None = None) -> list[nn.Module]:
            wanted = level is None or config.attention[level]
            return [Attention(channels, config.heads_of(channels))] if wanted else []

        self.input_blocks = nn.ModuleList([_Stage([nn.Conv2d(3, widths[0], 3, padding=1)])])
        current, skips = widths[0], [widths[0]]
        for level, width in enumerate(widths):
            for _ in range(config.res_blocks):
                self.input_blocks.append(_Stage([residual(current, width), *attention(width, level)]))
                current = width
                skips.append(current)
            if level < levels - 1:
                self.input_blocks.append(_Stage([resample(current, "down")]))
                skips.append(current)
        self.middle_block = _Stage([residual(current, current), *attention(current), residual(current, current)])
        self.output_blocks = nn.ModuleList()
        for level, width in reversed(list(enumerate(widths))):
            for block in range(config.res_blocks + 1):
                layers = [residual(current + skips.pop(), width), *attention(width, level)]
                current = width
                if level and block == config.res_blocks:
                    layers.append(resample(current, "up"))
                self.output_blocks.append(_Stage(layers))
        self.out = nn.Sequential(_norm(current), nn.SiLU(), nn.Conv2d(widths[0], config.out_channels, 3, padding=1))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        embedding: Tensor = self.time_embed(sinusoids(t, self.config.model_channels))
        if self.label_emb is not None:
            table = self.label_emb.weight
            embedding = embedding + (table.mean(0) if self.class_label is None else table[self.class_label])
        skips = []
        for stage in self.input_blocks:
            x = stage(x, embedding)
            skips.append(x)
        x = self.middle_block(x, embedding)
        for stage in self.output_blocks:
            x = stage(torch.cat([x, skips.pop()], dim=1), embedding)
        return cast(Tensor, self.out(x))


def sinusoids(t: Tensor, width: int) -> Tensor:
    """[N, width]: cosines, then sines of t [N] at frequencies from 1 to 1/10000 (Ho et al. 2020, in this order)."""
    half = width // 2
    frequencies = torch.exp(torch.arange(half, device=t.device, dtype=torch.float32) * (-math.log(10000.0) / half))
    phase = t.float()[:, None] * frequencies
    return torch.cat([phase.cos(), phase.sin()], dim=1)


def reorder_attention(weight: Tensor, heads: int) -> Tensor:
    """Rows of a qkv weight or bias stored head by head (guided-diffusion's older order), in this module's order."""
    rows: Sequence[int] = weight.shape
    return weight.reshape(heads, 3, rows[0] // (3 * heads), *rows[1:]).transpose(0, 1).reshape(weight.shape)
