import pytest
import torch
from torch.nn import functional as F

from models.latent.projection import project, project_bounded, shrink
from models.latent.tiles import finished, tiled_calls


def test_shrinking_is_the_antialiased_bicubic_reduction():
    x = torch.rand(2, 3, 32, 48) * 2 - 1
    expected = F.interpolate(x, (8, 12), mode="bicubic", antialias=True)
    torch.testing.assert_close(shrink(x), expected, rtol=0, atol=1e-5)


def test_the_projection_agrees_with_the_small_picture_and_is_the_nearest_that_does():
    x, small = torch.randn(1, 3, 32, 48), torch.rand(1, 3, 8, 12) * 2 - 1
    projected = project(x, small)
    torch.testing.assert_close(shrink(projected), small, rtol=0, atol=1e-5)
    torch.testing.assert_close(project(projected, small), projected, rtol=0, atol=1e-5)
    other = project(x + torch.randn(x.shape), small)
    assert float((projected - x).square().sum()) < float((other - x).square().sum())
    # The change has no part that shrinking does not see.
    change, unseen = projected - x, other - projected
    assert abs(float((change * unseen).sum())) < 1e-2


def test_within_bounds_it_agrees_to_half_a_step_of_eight_bits():
    small = torch.rand(1, 3, 8, 12) - 0.5
    x = project_bounded(torch.randn(1, 3, 32, 48), small, rounds=200)
    assert float(x.abs().max()) <= 1.0 and float((shrink(x) - small).abs().max()) < 1 / 255


@pytest.mark.parametrize(("scale", "network"), [
    (1, lambda x: F.avg_pool2d(x, 5, 1, 2)),
    (4, lambda x: F.interpolate(x, scale_factor=4.0, mode="bilinear")),
    (0.25, lambda x: F.avg_pool2d(x, 4)),
])  # fmt: skip
@pytest.mark.parametrize("size", [(64, 64), (96, 40), (100, 132)])
def test_tiles_of_a_local_network_give_the_whole(scale, network, size):
    x = torch.randn(1, 3, *size)
    tiled = finished(tiled_calls(network, x, 32, 16, scale))
    torch.testing.assert_close(tiled, network(x), rtol=0, atol=1e-5)
