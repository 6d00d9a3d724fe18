"""What a new network takes over from a trained one."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from models.adoption import adopt
from models.unet import DenoisingUNet

SHAPE: dict[str, Any] = {"channels": (8, 12), "blocks": (1, 1), "middle": 1, "embedding": 16}


def network(seed: int, **settings: Any) -> DenoisingUNet:
    torch.manual_seed(seed)
    model = DenoisingUNet(**{**SHAPE, **settings})
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn(p.shape))
    return model.eval()


@pytest.fixture
def call() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)), torch.tensor([0.05, 0.4])


@pytest.mark.parametrize("modulation", ["blocks", "levels"])
@pytest.mark.parametrize("channels", [(8, 12), (8, 20), (16, 12), (10, 14)])
def test_wider_network_answers_the_same(
    modulation: str, channels: tuple[int, int], call: tuple[torch.Tensor, torch.Tensor]
) -> None:
    old, new = network(0, modulation=modulation), network(1, modulation=modulation, channels=channels)
    adopt(new, old)
    torch.testing.assert_close(new(*call), old(*call), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("settings", [{"middle": 3}, {"blocks": (1, 2)}, {"blocks": (2, 1), "channels": (10, 14)}])
def test_deeper_network_answers_the_same_and_its_new_blocks_are_trained(
    settings: dict[str, Any], call: tuple[torch.Tensor, torch.Tensor]
) -> None:
    old, new = network(0), network(1, **settings)
    adopt(new, old)
    torch.testing.assert_close(new(*call), old(*call), atol=1e-5, rtol=1e-4)
    new(*call).square().mean().backward()
    assert all(block.conv2.weight.grad.any() for stage in (*new.down, new.bottom, *new.up) for block in stage)


def test_new_channels_are_trained(call: tuple[torch.Tensor, torch.Tensor]) -> None:
    new = network(1, channels=(8, 20))
    adopt(new, network(0))
    new(*call).square().mean().backward()
    gradient = new.bottom[0].conv2.weight.grad
    assert gradient is not None and (gradient[:12, 12:].abs() > 0).any()


def test_blocks_keep_what_their_modulation_did_where_it_was_the_same_at_every_level(
    call: tuple[torch.Tensor, torch.Tensor],
) -> None:
    old, new = network(0), DenoisingUNet(**SHAPE, modulation="levels")
    with torch.no_grad():
        for name, p in old.named_parameters():
            if name.endswith("film.weight"):
                p.zero_()
    adopt(new, old)
    torch.testing.assert_close(new(*call), old(*call), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"channels": (8, 8)}, "too many for"),
        ({"channels": (8, 12, 16), "blocks": (1, 1, 1)}, "have no layer"),
        ({"blocks": (1, 0)}, "layers too many"),
        ({"patch": 1}, "too many for"),
    ],
)
def test_other_shapes_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        adopt(network(1, **settings), network(0))
