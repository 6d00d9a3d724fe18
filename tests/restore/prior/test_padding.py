import pytest
import torch

from restore.errors import ParameterError
from restore.prior import PriorInfo, padded, reflect_pad


class Recording:
    def __init__(self, **facts):
        self.info = PriorInfo("recording", **facts)
        self.sizes = []

    def __call__(self, x, sigma):
        self.sizes.append(tuple(x.shape[2:]))
        return 2 * x


def test_reflection_does_not_repeat_the_border():
    row = torch.tensor([[[[1.0, 2.0, 3.0]]]])
    assert reflect_pad(row, 1, 5).flatten().tolist() == [1, 2, 3, 2, 1]


def test_padding_beyond_the_mirror_image_repeats_the_last_value():
    row = torch.tensor([[[[1.0, 2.0, 3.0]]]])
    assert reflect_pad(row, 2, 8).tolist() == [[[[1, 2, 3, 2, 1, 1, 1, 1]] * 2]]


def test_padding_to_a_smaller_size_is_refused():
    with pytest.raises(ValueError, match="3 pixels to 2"):
        reflect_pad(torch.zeros(1, 1, 3, 3), 3, 2)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 9), (7, 3), (8, 16), (13, 21)])
def test_any_size_goes_in_and_comes_out(height, width):
    inner = Recording(multiple_of=8)
    x = torch.randn(2, 3, height, width)
    assert torch.equal(padded(inner)(x, torch.ones(2)), 2 * x)
    assert all(h % 8 == 0 and w % 8 == 0 for h, w in inner.sizes)


def test_a_fixed_size_network_gets_its_size_and_refuses_more():
    inner = Recording(native_size=16)
    wrapped = padded(inner)
    assert wrapped(torch.zeros(1, 3, 5, 11), torch.ones(1)).shape == (1, 3, 5, 11)
    assert inner.sizes == [(16, 16)]
    assert wrapped.info.native_size is None
    with pytest.raises(ParameterError, match="16x16"):
        wrapped(torch.zeros(1, 3, 17, 4), torch.ones(1))


def test_a_denoiser_that_takes_every_size_is_left_alone():
    inner = Recording()
    assert padded(inner) is inner
