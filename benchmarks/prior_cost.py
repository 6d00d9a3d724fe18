"""What one call of each published prior costs, counted on its architecture without weights, into the catalogue's hints.

    python benchmarks/prior_cost.py

Floating point operations (a multiplication and an addition are two) of convolutions, matrix products and attention in
one call on one tile, by PyTorch's counter on tensors without memory. An architecture counts as an entry's when it has
its number of parameters.
"""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from models.guided_unet import GuidedUNet, GuidedUNetConfig
from models.loaders.openai_releases import RELEASES
from models.registry import CATALOGUE


def guided() -> list[tuple[nn.Module, int]]:
    """The architectures of OpenAI's releases, and their sizes."""
    found: list[tuple[nn.Module, int]] = []
    for (base, multiples, blocks, levels, conditional, resampling), (_, flags) in RELEASES.items():
        attention = tuple(level in levels for level in range(len(multiples)))
        for channels in (6, 3):  # with a learned variance, and without: consistency models
            config = GuidedUNetConfig(
                base, multiples, blocks, attention, resampling=resampling, classes=1000 if conditional else 0,
                heads=flags.heads, head_channels=flags.head_channels, out_channels=channels,
            )  # fmt: skip
            with torch.device("meta"):
                found.append((GuidedUNet(config), flags.native_size))
    return found


def ddpm() -> list[tuple[nn.Module, int]]:
    """google/ddpm-*-256 and google/ddpm-cifar10-32, by their published config.json."""
    import diffusers

    down, up = "DownBlock2D", "UpBlock2D"
    large = {
        "sample_size": 256, "block_out_channels": (128, 128, 256, 256, 512, 512),
        "down_block_types": (down, down, down, down, "AttnDownBlock2D", down),
        "up_block_types": (up, "AttnUpBlock2D", up, up, up, up),
    }  # fmt: skip
    small = {
        "sample_size": 32, "block_out_channels": (128, 256, 256, 256),
        "down_block_types": (down, "AttnDownBlock2D", down, down), "up_block_types": (up, up, "AttnUpBlock2D", up),
    }  # fmt: skip
    more: dict[str, Any] = {"attention_head_dim": None, "downsample_padding": 0, "flip_sin_to_cos": False}
    with torch.device("meta"):
        return [
            (diffusers.UNet2DModel(**config, **more, freq_shift=1, norm_eps=1e-6), int(config["sample_size"]))
            for config in (large, small)
        ]


def upscaler() -> nn.Module:
    """The network of stabilityai/stable-diffusion-x4-upscaler, by its published config.json, as it is asked here."""
    import diffusers

    down, up = "CrossAttnDownBlock2D", "CrossAttnUpBlock2D"
    with torch.device("meta"):
        unet = diffusers.UNet2DConditionModel(
            sample_size=128, in_channels=7, out_channels=4, block_out_channels=(256, 512, 512, 1024),
            down_block_types=("DownBlock2D", down, down, down), up_block_types=(up, up, up, "UpBlock2D"),
            cross_attention_dim=1024, attention_head_dim=8, num_class_embeds=1000, use_linear_projection=True,
            only_cross_attention=(True, True, True, False),
        )  # fmt: skip

    class Asked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.unet = unet

        def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            words, level = torch.empty(1, 77, 1024, device="meta"), torch.empty(1, device="meta", dtype=torch.long)
            latent = torch.empty(1, 7, *x.shape[2:], device="meta")
            output: torch.Tensor = unet(latent, t, encoder_hidden_states=words, class_labels=level).sample
            return output

    return Asked()


def teraflop(network: nn.Module, side: int) -> float:
    """Of one call on a picture of this side."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.empty(1, 3, side, side, device="meta"), torch.zeros(1, device="meta"))
    return counter.get_total_flops() / 1e12


def main() -> None:
    """Write the hints of every entry whose architecture is known here."""
    from models.latent.upscaler import TILE

    architectures = [*guided(), *ddpm(), (upscaler(), TILE)]
    known = [(sum(p.numel() for p in network.parameters()), network, side) for network, side in architectures]
    for path in sorted(CATALOGUE.glob("*.json")):
        facts = json.loads(path.read_text(encoding="utf-8"))
        cost = [
            teraflop(network, side) for count, network, side in known
            if count == facts["parameters"] and side == (facts["native_size"] or TILE)
        ]  # fmt: skip
        if not cost:
            print(f"{facts['name']}: no architecture with {facts['parameters']:,} parameters is known here")
            continue
        facts["hints"]["teraflop_per_call"] = float(f"{cost[0]:.3g}")
        path.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        print(f"{facts['name']}: {cost[0]:.3g} Tflop a tile of {facts['native_size'] or TILE} pixels")


if __name__ == "__main__":
    main()
