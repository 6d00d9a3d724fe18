import pytest
import torch

from restore.degradations import GaussianNoise, Grey, Opponent, PerPixelGaussianNoise
from restore.errors import ParameterError


def picture() -> torch.Tensor:
    return torch.rand(2, 3, 5, 7, generator=torch.Generator().manual_seed(0)) * 2.0 - 1.0


def test_the_first_channel_is_luma_and_the_others_know_nothing_of_it() -> None:
    x = picture()
    length = sum(w * w for w in Grey().weights) ** 0.5
    y = Opponent().forward(x)
    torch.testing.assert_close(y[:, :1] * length, Grey().forward(x))
    grey = Opponent().forward(torch.ones(1, 3, 2, 2))
    towards = torch.tensor(Grey().weights).view(1, 3, 1, 1).expand(1, 3, 2, 2) / length
    torch.testing.assert_close(Opponent().forward(towards)[:, 1:], torch.zeros(1, 2, 2, 2), atol=1e-6, rtol=0.0)
    assert grey[:, 1:].abs().max() > 0.1  # grey is not along the weights


def test_it_is_its_own_inverse_and_keeps_lengths() -> None:
    x = picture()
    y = Opponent().forward(x)
    torch.testing.assert_close(Opponent().forward(y), x)
    torch.testing.assert_close(y.square().sum(1), x.square().sum(1))
    torch.testing.assert_close(Opponent().initial_estimate(y).x, x)


def test_a_map_says_how_well_luma_and_colours_are_known() -> None:
    x, d = picture(), torch.zeros(2, 3, 5, 7)
    sigma = torch.tensor([0.0, 1e3, 1e3]).view(1, 3, 1, 1)
    degradation = Opponent(PerPixelGaussianNoise(sigma))
    out = degradation.gain_step(d, degradation.forward(x), torch.full((2,), 0.01))
    torch.testing.assert_close(Grey().forward(out), Grey().forward(x))
    torch.testing.assert_close(Opponent().forward(out)[:, 1:], torch.zeros(2, 2, 5, 7), atol=1e-4, rtol=0.0)


def test_luma_may_be_a_channel() -> None:
    x = picture()
    torch.testing.assert_close(Opponent(weights=(1.0, 0.0, 0.0)).forward(x), x)


@pytest.mark.parametrize("weights", [(1.0,), (0.0, 0.0, 0.0)])
def test_weights_that_are_no_luma_are_refused(weights: tuple[float, ...]) -> None:
    with pytest.raises(ParameterError, match="weight"):
        Opponent(GaussianNoise(0.1), weights)


def test_another_number_of_channels_is_refused() -> None:
    with pytest.raises(ParameterError, match="channels"):
        Opponent().forward(torch.zeros(1, 4, 2, 2))


def test_one_level_a_channel_is_as_good_as_a_map_of_it() -> None:
    x, d, v = picture(), torch.zeros(2, 3, 5, 7), torch.tensor([0.01, 0.2])
    sigma = torch.tensor([0.01, 0.3, 0.3]).view(1, 3, 1, 1)
    few, many = (Opponent(PerPixelGaussianNoise(s)) for s in (sigma, sigma.expand(2, 3, 5, 7).contiguous()))
    y = few.forward(x)
    torch.testing.assert_close(few.gain_step(d, y, v), many.gain_step(d, y, v))
