"""The flags of the checkpoints that OpenAI and DPS published, which their tensors do not tell.

Sources: the README files of openai/guided-diffusion, openai/improved-diffusion and openai/consistency_models, and
the FFHQ model's configuration in DPS (Chung et al. 2023).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from models.guided_unet import GuidedUNetConfig, Resampling

#: What tensors do tell: model channels, multiples, residual blocks, levels with attention, conditional, resampling.
Signature = tuple[int, tuple[float, ...], int, tuple[int, ...], bool, Resampling]


@dataclass(frozen=True)
class Flags:
    """What a checkpoint of this layout was trained with and does not say.

    Attributes:
        native_size: side of the training pictures.
        heads: of every attention, or None when `head_channels` counts.
        head_channels: channels of one head.
        attention_order: "legacy", head by head, or "new", all queries first.
        noise_schedule: "linear" or "cosine".
        timesteps: how many.
        rescale_timesteps: whether the network sees them scaled to 1000.
    """

    native_size: int
    heads: int | None = None
    head_channels: int | None = 64
    attention_order: Literal["legacy", "new"] = "legacy"
    noise_schedule: Literal["linear", "cosine"] = "linear"
    timesteps: int = 1000
    rescale_timesteps: bool = False


_WIDE = (1.0, 1.0, 2.0, 2.0, 4.0, 4.0)
_IMPROVED = Flags(64, 4, None, "legacy", "cosine", 4000, True)

RELEASES: dict[Signature, tuple[str, Flags]] = {
    (256, _WIDE, 2, (3, 4, 5), False, "residual"): ("256x256_diffusion_uncond or an LSUN model", Flags(256)),
    (256, _WIDE, 2, (3, 4, 5), True, "residual"): ("256x256_diffusion", Flags(256)),
    (256, (0.5, 1.0, 1.0, 2.0, 2.0, 4.0, 4.0), 2, (4, 5, 6), True, "residual"): ("512x512_diffusion", Flags(512)),
    (256, (1.0, 1.0, 2.0, 3.0, 4.0), 2, (2, 3, 4), True, "residual"): ("128x128_diffusion", Flags(128, 4, None)),
    (192, (1.0, 2.0, 3.0, 4.0), 3, (1, 2, 3), True, "residual"): (
        "64x64_diffusion",
        Flags(64, None, 64, "new", "cosine"),
    ),
    (128, _WIDE, 1, (4,), False, "residual"): ("ffhq_10m of DPS, or a model like it", Flags(256)),
    (128, (1.0, 2.0, 3.0, 4.0), 3, (2, 3), False, "convolution"): ("imagenet64_uncond_100M", _IMPROVED),
    (192, (1.0, 2.0, 3.0, 4.0), 3, (2, 3), True, "convolution"): (
        "imagenet64_cond_270M",
        Flags(64, 4, None, "legacy", "cosine", 4000, False),
    ),
    (128, (1.0, 2.0, 2.0, 2.0), 3, (1, 2), False, "convolution"): (
        "cifar10_uncond_50M",
        Flags(32, 4, None, "legacy", "cosine", 4000, True),
    ),
    (128, _WIDE, 2, (4,), False, "convolution"): ("lsun_uncond_100M", Flags(256, 1, None)),
}


def signature(config: GuidedUNetConfig) -> Signature:
    """What of an architecture tells the releases apart."""
    levels = tuple(level for level, attends in enumerate(config.attention) if attends)
    return (
        config.model_channels,
        config.channel_multiples,
        config.res_blocks,
        levels,
        config.classes > 0,
        config.resampling,
    )


def conventional(config: GuidedUNetConfig) -> Flags:
    """What such a network most likely was trained with when it is none of the releases.

    guided-diffusion's networks resample in residual blocks and have heads of 64 channels; improved-diffusion's
    resample by convolutions and have four heads. Both stop at a grid of 8x8.
    """
    native = 8 * config.multiple_of
    attending = [
        int(multiple * config.model_channels)
        for multiple, attends in zip(config.channel_multiples, config.attention, strict=True)
        if attends
    ] + [int(config.channel_multiples[-1] * config.model_channels)]
    if config.resampling == "residual" and all(width % 64 == 0 for width in attending):
        return Flags(native)
    heads = 4 if all(width % 4 == 0 for width in attending) else 1
    return Flags(native, heads, None)
