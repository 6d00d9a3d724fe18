"""What a new network takes over from a trained one that is smaller or modulated elsewhere, so as not to begin anew."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from models.unet import DenoisingUNet, ResidualBlock

#: Noise levels, range [-1, 1], over which a modulation is averaged: those that most of the training is about.
LOW, HIGH, LEVELS = 0.01, 0.8, 64


@torch.no_grad()
def adopt(network: DenoisingUNet, other: DenoisingUNet) -> None:
    """Take over the weights of a trained network.

    Where that one has fewer channels or blocks, what is computed from the new ones counts nothing at first, so that the
    answers are the same (Chen et al. 2016, "Net2Net"); they themselves begin at random. Where a block of that one is
    modulated and this one's is not, its convolution takes over what its modulation does on average, and the answers
    are others.

    Args:
        network: changed.
        other: has the same levels; at most as many blocks and channels.

    Raises:
        ValueError: it has not.
    """
    state = other.state_dict() if network.config.modulation == "blocks" else _without_modulation(other)
    added = [name for name, block in _blocks(network) if f"{name}.conv1.weight" not in state]
    for name, block in _blocks(network):
        if name in added:
            for part in block.conv2.parameters():
                part.zero_()
    for name, layer in network.named_modules():
        if name.rpartition(".")[0] in added or not isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            continue
        own = [kind for kind in ("weight", "bias") if f"{name}.{kind}" in state]
        if not own and "film" not in name:
            raise ValueError(f"the weights to begin with have no layer {name}: they are of a network of another shape")
        for kind in own:
            _grow(getattr(layer, kind), state.pop(f"{name}.{kind}"), layer, name)
    if state:
        raise ValueError(f"the weights to begin with have layers too many: {sorted(state)}")


def _grow(mine: Tensor, others: Tensor, layer: nn.Module, name: str) -> None:
    """Write another network's parameter into the first channels of a layer's own."""
    if isinstance(layer, nn.ConvTranspose2d) and mine.ndim > 1:
        mine, others = mine.transpose(0, 1), others.transpose(0, 1)
    if "film" in name:  # scales, then shifts
        mine, others = mine.unflatten(0, (2, -1)).transpose(0, 1), others.unflatten(0, (2, -1)).transpose(0, 1)
    if mine.ndim != others.ndim or any(a < b for a, b in zip(mine.shape, others.shape, strict=True)):
        raise ValueError(
            f"{name} has weights {tuple(others.shape)} in those to begin with, too many for {tuple(mine.shape)}"
        )
    outputs = mine[: len(others)]
    outputs.zero_()
    outputs[tuple(slice(0, size) for size in others.shape)] = others


def _without_modulation(network: DenoisingUNet) -> dict[str, Tensor]:
    """The weights, in which the modulations of blocks, averaged, have become part of the convolutions before them."""
    state = network.state_dict()
    embedding = network.embed(torch.exp(torch.linspace(math.log(LOW), math.log(HIGH), LEVELS)))
    for name, block in _blocks(network):
        if block.film is not None:
            scale, shift = block.film(embedding).mean(0).chunk(2)
            state[f"{name}.conv1.weight"] = block.conv1.weight * (1.0 + scale).view(-1, 1, 1, 1)
            state[f"{name}.conv1.bias"] = block.conv1.bias * (1.0 + scale) + shift
            del state[f"{name}.film.weight"], state[f"{name}.film.bias"]
    return state


def _blocks(network: DenoisingUNet) -> list[tuple[str, ResidualBlock]]:
    return [(name, block) for name, block in network.named_modules() if isinstance(block, ResidualBlock)]
