"""Small checkpoints with random weights in the formats that people have."""

from __future__ import annotations

import pytest
import torch


def randomise(module: torch.nn.Module, seed: int = 0, gain: float = 1.0) -> torch.nn.Module:
    """Weights of a size that keeps activations alive: zero-initialised layers would hide half of a network."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in module.named_parameters():
            if value.ndim > 1:
                fan = value[0].numel()
                value.copy_(torch.randn(value.shape, generator=generator) * gain / fan**0.5)
            elif "norm" in name or name.endswith(("in_layers.0.weight", "out_layers.0.weight")):
                value.copy_(1.0 + 0.1 * torch.randn(value.shape, generator=generator))
            else:
                value.copy_(0.1 * torch.randn(value.shape, generator=generator))
    return module.eval()


@pytest.fixture
def pictures() -> tuple[torch.Tensor, torch.Tensor]:
    """Three noisy 32x32 pictures and their noise levels."""
    generator = torch.Generator().manual_seed(1)
    sigma = torch.tensor([0.05, 0.4, 3.0])
    clean = torch.rand(3, 3, 32, 32, generator=generator) * 2 - 1
    return clean + sigma.view(-1, 1, 1, 1) * torch.randn(clean.shape, generator=generator), sigma
