"""The UNets of "Elucidating the design space of diffusion-based generative models" (Karras et al. 2022, appendix F).

DDPM++ and NCSN++ (Song et al. 2021, "SongUNet") and ADM (Dhariwal and Nichol 2021, "DhariwalUNet"), written from the
paper and the layout of its checkpoints, whose parameter names they keep.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class EDMUNetConfig:
    """The architecture of an `EDMUNet`.

    Attributes:
        style: "song" (one head, shift only, scaled skips) or "dhariwal" (heads, scale and shift).
        resolution: side of the training pictures; names of the parameters hold it.
        widths: channels of each resolution level, finest first.
        blocks: residual blocks of a level on the way down; one more on the way up.
        attention: resolutions that attend.
        first: channels behind the first convolution.
        noise_channels: of the noise level's features.
        embedding: width of the embedding.
        fourier: whether the features are random Fourier features, stored in the checkpoint.
        classes: of a class-conditional network, else 0.
        encoder: "standard", or how the picture enters again at every level: "skip" or "residual".
        decoder: "standard", or "skip": the picture leaves at every level.
        resample_filter: of the changes of resolution.
        head_channels: channels of a head ("dhariwal").
    """

    style: Literal["song", "dhariwal"]
    resolution: int
    widths: tuple[int, ...]
    blocks: int
    attention: tuple[int, ...]
    first: int
    noise_channels: int
    embedding: int
    fourier: bool = False
    classes: int = 0
    encoder: Literal["standard", "skip", "residual"] = "standard"
    decoder: Literal["standard", "skip"] = "standard"
    resample_filter: tuple[float, ...] = (1.0, 1.0)
    head_channels: int = 64

    @property
    def multiple_of(self) -> int:
        """Height and width must be divisible by this."""
        return 1 << (len(self.widths) - 1)


class _Conv(nn.Module):
    """A convolution, a change of resolution by a separable filter, or one after the other.

    Args:
        inside: channels in.
        outside: channels out.
        kernel: side of the convolution; 0 for none.
        resize: direction of the change.
        taps: of the filter along one axis.
        joint: filter behind the convolution and without padding of its own (NCSN++'s residual inputs).
    """

    filter: Tensor

    def __init__(
        self,
        inside: int,
        outside: int,
        kernel: int,
        resize: Literal["up", "down"] | None = None,
        taps: tuple[float, ...] = (1.0, 1.0),
        joint: bool = False,
    ) -> None:
        super().__init__()
        self.kernel, self.resize, self.joint, self.inside = kernel, resize, joint, inside
        if kernel:
            self.weight = nn.Parameter(torch.empty(outside, inside, kernel, kernel))
            self.bias = nn.Parameter(torch.empty(outside))
        row = torch.tensor(taps, dtype=torch.float32, device="cpu")
        self.register_buffer("filter", torch.outer(row, row)[None, None] / row.sum().square(), persistent=False)
        self.margin = (len(taps) - 1) // 2

    def _halve(self, x: Tensor, padding: int) -> Tensor:
        channels = x.shape[1]
        return F.conv2d(x, self.filter.to(x).repeat(channels, 1, 1, 1), stride=2, padding=padding, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        pad = self.kernel // 2
        if self.joint:
            x = F.conv2d(x, self.weight, self.bias, padding=pad + self.margin)
            return self._halve(x, 0)
        if self.resize == "down":
            x = self._halve(x, self.margin)
        elif self.resize == "up":
            taps = 4.0 * self.filter.to(x).repeat(self.inside, 1, 1, 1)
            x = F.conv_transpose2d(x, taps, stride=2, padding=self.margin, groups=self.inside)
        return F.conv2d(x, self.weight, self.bias, padding=pad) if self.kernel else x


def _norm(channels: int, eps: float) -> nn.GroupNorm:
    return nn.GroupNorm(min(32, channels // 4), channels, eps=eps)


class _Block(nn.Module):
    """A residual block, perhaps with attention behind it."""

    def __init__(
        self,
        config: EDMUNetConfig,
        inside: int,
        outside: int,
        resize: Literal["up", "down"] | None = None,
        attention: bool = False,
    ) -> None:
        super().__init__()
        song = config.style == "song"
        self.inside = inside
        self.adaptive, self.gain = not song, math.sqrt(0.5) if song else 1.0
        self.heads = 0 if not attention else 1 if song else outside // config.head_channels
        eps, taps = 1e-6 if song else 1e-5, config.resample_filter
        self.norm0 = _norm(inside, eps)
        self.conv0 = _Conv(inside, outside, 3, resize, taps)
        self.affine = nn.Linear(config.embedding, outside * (2 if self.adaptive else 1))
        self.norm1 = _norm(outside, eps)
        self.conv1 = _Conv(outside, outside, 3)
        self.skip: _Conv | None = None
        if inside != outside or resize:
            self.skip = _Conv(inside, outside, 1 if song or inside != outside else 0, resize, taps)
        if attention:
            self.norm2 = _norm(outside, eps)
            self.qkv = _Conv(outside, 3 * outside, 1)
            self.proj = _Conv(outside, outside, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h: Tensor = self.conv0(F.silu(self.norm0(x)))
        modulation = self.affine(embedding)[:, :, None, None]
        if self.adaptive:
            scale, shift = modulation.chunk(2, dim=1)
            h = F.silu(self.norm1(h) * (1.0 + scale) + shift)
        else:
            h = F.silu(self.norm1(h + modulation))
        h = (self.conv1(h) + (x if self.skip is None else self.skip(x))) * self.gain
        if self.heads:
            n, c, height, width = h.shape
            # Rows of qkv run over heads, then channels, then the three parts.
            parts = self.qkv(self.norm2(h)).reshape(n, self.heads, c // self.heads, 3, height * width)
            q, k, v = parts.permute(3, 0, 1, 4, 2).unbind(0)
            mixed = F.scaled_dot_product_attention(q, k, v).transpose(2, 3).reshape(n, c, height, width)
            h = (h + self.proj(mixed)) * self.gain
        return h


class _Fourier(nn.Module):
    """Random Fourier features of the noise level."""

    freqs: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("freqs", torch.empty(width // 2))

    def forward(self, level: Tensor) -> Tensor:
        return level[:, None] * (2.0 * math.pi * self.freqs)


class _Positional(nn.Module):
    """Frequencies from 1 to 1/10000 of the noise level, the last of them reached or not."""

    def __init__(self, width: int, endpoint: bool) -> None:
        super().__init__()
        self.count, self.endpoint = width // 2, int(endpoint)

    def forward(self, level: Tensor) -> Tensor:
        steps = torch.arange(self.count, device=level.device, dtype=torch.float32) / (self.count - self.endpoint)
        return level[:, None] * torch.exp(-math.log(10000.0) * steps)


class EDMUNet(nn.Module):
    """The raw network F: (c_in x [N, 3, H, W], c_noise [N]) -> [N, 3, H, W].

    Args:
        config: its architecture.
        class_label: the class that a class-conditional network is asked for; None for no class, as in training with
            dropped labels.
    """

    def __init__(self, config: EDMUNetConfig, class_label: int | None = None) -> None:
        super().__init__()
        self.config, self.class_label = config, class_label
        song, widths = config.style == "song", config.widths
        taps = config.resample_filter
        self.map_noise = _Fourier(config.noise_channels) if config.fourier else _Positional(config.noise_channels, song)
        target = config.noise_channels if song else config.embedding
        self.map_label = nn.Linear(config.classes, target, bias=song) if config.classes else None
        self.map_layer0 = nn.Linear(config.noise_channels, config.embedding)
        self.map_layer1 = nn.Linear(config.embedding, config.embedding)
        enc: dict[str, nn.Module] = {}
        dec: dict[str, nn.Module] = {}
        current, skips = config.first, [config.first]
        entering = 3
        for level, width in enumerate(widths):
            side = config.resolution >> level
            place = f"{side}x{side}"
            if level == 0:
                enc[f"{place}_conv"] = _Conv(3, current, 3)
            else:
                enc[f"{place}_down"] = _Block(config, current, current, "down")
                skips.append(current)
                if config.encoder == "skip":
                    enc[f"{place}_aux_down"] = _Conv(3, 3, 0, "down", taps)
                    enc[f"{place}_aux_skip"] = _Conv(3, current, 1)
                elif config.encoder == "residual":
                    enc[f"{place}_aux_residual"] = _Conv(entering, current, 3, "down", taps, joint=True)
                    entering = current
            for index in range(config.blocks):
                enc[f"{place}_block{index}"] = _Block(config, current, width, attention=side in config.attention)
                current = width
                skips.append(current)
        for level, width in reversed(list(enumerate(widths))):
            side = config.resolution >> level
            place = f"{side}x{side}"
            if level == len(widths) - 1:
                dec[f"{place}_in0"] = _Block(config, current, current, attention=True)
                dec[f"{place}_in1"] = _Block(config, current, current)
            else:
                dec[f"{place}_up"] = _Block(config, current, current, "up")
            for index in range(config.blocks + 1):
                # SongUNet attends once on the way up, behind the last block.
                attends = side in config.attention and (index == config.blocks or not song)
                dec[f"{place}_block{index}"] = _Block(config, current + skips.pop(), width, attention=attends)
                current = width
            if song and (config.decoder == "skip" or level == 0):
                if config.decoder == "skip" and level < len(widths) - 1:
                    dec[f"{place}_aux_up"] = _Conv(3, 3, 0, "up", taps)
                dec[f"{place}_aux_norm"] = _norm(current, 1e-6)
                dec[f"{place}_aux_conv"] = _Conv(current, 3, 3)
        self.enc, self.dec = nn.ModuleDict(enc), nn.ModuleDict(dec)
        if not song:
            self.out_norm = _norm(current, 1e-5)
            self.out_conv = _Conv(current, 3, 3)

    def _embedding(self, level: Tensor) -> Tensor:
        phase = self.map_noise(level.float())
        song = self.config.style == "song"
        pair = [phase.sin(), phase.cos()] if song else [phase.cos(), phase.sin()]
        features = torch.cat(pair, dim=1)
        label = None
        if self.map_label is not None and self.class_label is not None:
            label = self.map_label.weight[:, self.class_label]
        if song:
            if label is not None:
                features = features + label * math.sqrt(self.config.classes)
            if self.map_label is not None:
                features = features + self.map_label.bias
        embedding: Tensor = self.map_layer1(F.silu(self.map_layer0(features)))
        if not song and label is not None:
            embedding = embedding + label
        return F.silu(embedding)

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        embedding = self._embedding(level)
        skips: list[Tensor] = []
        entering = x
        for name, block in self.enc.items():
            if name.endswith("aux_down"):
                entering = block(entering)
            elif name.endswith("aux_skip"):
                x = skips[-1] = x + block(entering)
            elif name.endswith("aux_residual"):
                x = skips[-1] = entering = (x + block(entering)) * math.sqrt(0.5)
            else:
                x = block(x, embedding) if isinstance(block, _Block) else block(x)
                skips.append(x)
        leaving: Tensor | None = None
        normed = x
        for name, block in self.dec.items():
            if name.endswith("aux_up"):
                leaving = block(leaving)
            elif name.endswith("aux_norm"):
                normed = block(x)
            elif name.endswith("aux_conv"):
                picture = block(F.silu(normed))
                leaving = picture if leaving is None else leaving + picture
            else:
                if x.shape[1] != cast(_Block, block).inside:
                    x = torch.cat([x, skips.pop()], dim=1)
                x = block(x, embedding)
        if leaving is not None:
            return leaving
        return cast(Tensor, self.out_conv(F.silu(self.out_norm(x))))
