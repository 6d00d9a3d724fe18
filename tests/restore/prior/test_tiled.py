from itertools import pairwise

import pytest
import torch
from torch.nn import functional as F

from restore.errors import ParameterError
from restore.prior import Denoiser, PriorInfo, TiledDenoiser, padded, tile_starts
from restore.prior.tiled import axis_windows, grid_phases


class Blur:
    """A local denoiser: a fixed 7x7 filter mixed with the input by sigma, its gain tied to a strided grid."""

    def __init__(self, multiple=1, native=None, field=7):
        self.info = PriorInfo("blur", multiple_of=multiple, native_size=native, receptive_field=field)
        self.kernel = torch.rand(3, 1, 7, 7, generator=torch.Generator().manual_seed(0)) / 24.5
        self.batches = []

    def __call__(self, x, sigma):
        self.batches.append(tuple(x.shape))
        multiple = self.info.multiple_of
        assert x.shape[2] % multiple == 0 and x.shape[3] % multiple == 0
        s = sigma.view(-1, 1, 1, 1)
        rows, columns = torch.arange(x.shape[2]) % multiple, torch.arange(x.shape[3]) % multiple
        modulation = 1.0 + 0.1 * (rows[:, None] - columns[None, :])
        return (x * s + F.conv2d(x, self.kernel, padding=3, groups=3)) / (1 + s) * modulation


class Identity:
    info = PriorInfo("identity", multiple_of=8, receptive_field=500)

    def __call__(self, x, sigma):
        return x.clone()


@pytest.mark.parametrize("offset", [0, 1, 17, 47])
@pytest.mark.parametrize("length", [64, 65, 112, 200, 517])
def test_tiles_cover_the_length_and_stay_inside(length, offset):
    starts = tile_starts(length, 64, 16, offset)
    assert starts[0] == 0 and starts[-1] == length - 64
    assert all(0 < b - a <= 48 for a, b in pairwise(starts))


@pytest.mark.parametrize("arguments", [(10, 16, 4, 0), (100, 16, 16, 0), (100, 16, 4, 12), (100, 16, -1, 0)])
def test_impossible_tilings_are_refused(arguments):
    with pytest.raises(ValueError, match="no tiles"):
        tile_starts(*arguments)


@pytest.mark.parametrize(("overlap", "margin"), [(16, 0), (16, 4), (16, 7), (9, 4), (32, 8)])
def test_windows_sum_to_one_and_leave_out_pixels_without_context(overlap, margin):
    length, tile = 301, 64
    starts = tile_starts(length, tile, overlap, 13)
    windows = axis_windows(starts, length, tile, overlap, margin)
    total = torch.zeros(length)
    for window, start in zip(windows, starts, strict=True):
        total[start : start + tile] += window
    torch.testing.assert_close(total, torch.ones(length))
    assert (windows[1:, :margin] == 0).all() and (windows >= 0).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 90), (5, 33), (64, 64), (65, 64), (131, 77), (300, 517)])
@pytest.mark.parametrize("multiple", [1, 4])
def test_tiles_of_a_local_denoiser_equal_the_whole_picture(size, multiple):
    whole, tiled = padded(Blur(multiple)), TiledDenoiser(Blur(multiple), tile=64, overlap=16)
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
    sigma = torch.tensor([0.1, 2.0])
    torch.testing.assert_close(tiled(x, sigma), whole(x, sigma), rtol=1e-5, atol=1e-6)
    assert isinstance(tiled, Denoiser)


def test_every_grid_offset_gives_the_same_picture_for_a_local_denoiser():
    whole, tiled = Blur(), TiledDenoiser(Blur(), tile=32)
    x = torch.randn(1, 3, 90, 145)
    sigmas = torch.logspace(-2, 1, 20)
    assert len({grid_phases(s) for s in sigmas.tolist()}) > 8
    for sigma in sigmas.split(1):
        torch.testing.assert_close(tiled(x, sigma), whole(x, sigma), rtol=1e-5, atol=1e-6)


def test_the_grid_moves_between_noise_levels_and_not_between_equal_ones():
    class Ramp:
        info = PriorInfo("ramp", receptive_field=500)

        def __call__(self, x, sigma):
            return torch.linspace(0, 1, x.shape[3]).expand_as(x)

    tiled, x = TiledDenoiser(Ramp(), tile=64), torch.zeros(1, 3, 64, 700)
    first = tiled(x, torch.tensor([0.5]))
    tiled(x, torch.tensor([0.3]))
    assert torch.equal(first, tiled(x, torch.tensor([0.5])))
    answers = {tuple(tiled(x, s)[0, 0, 0].tolist()) for s in torch.tensor([0.5, 0.4, 0.3, 0.2, 0.1, 0.05]).split(1)}
    assert len(answers) > 1


def test_rows_do_not_depend_on_each_other():
    tiled = TiledDenoiser(Blur(), tile=32, overlap=8, max_batch=3)
    x, sigma = torch.randn(4, 3, 50, 70), torch.tensor([0.02, 0.3, 1.0, 7.0])
    together = tiled(x, sigma)
    for i in range(4):
        torch.testing.assert_close(tiled(x[i : i + 1], sigma[i : i + 1])[0], together[i], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (77, 131), (300, 517)])
def test_pictures_survive_blending_unchanged(size):
    tiled = TiledDenoiser(Identity(), tile=64)
    constant = torch.full((1, 3, *size), -0.37)
    torch.testing.assert_close(tiled(constant, torch.tensor([0.7])), constant, rtol=0, atol=1e-6)
    x = torch.randn(1, 3, *size)
    torch.testing.assert_close(tiled(x, torch.tensor([0.2])), x, rtol=1e-6, atol=1e-6)


def test_tiles_have_one_shape_and_bounded_batches():
    inner = Blur(multiple=8)
    TiledDenoiser(inner, tile=64, max_batch=5)(torch.zeros(1, 3, 150, 211), torch.ones(1))
    assert len({shape[1:] for shape in inner.batches}) == 1
    assert max(inner.batches[0][2:]) <= 64
    assert max(shape[0] for shape in inner.batches) == 5


def test_a_picture_is_divided_evenly():
    inner = Blur()
    TiledDenoiser(inner, tile=64, overlap=16, max_batch=1)(torch.zeros(1, 3, 64, 100), torch.ones(1))
    # Three tiles of 64 would hold 192 columns.
    assert len(inner.batches) <= 3 and sum(shape[3] for shape in inner.batches) <= 100 + 3 * 16 + 2


def test_a_fixed_size_network_sees_its_size_only():
    inner = Blur(native=48)
    tiled = TiledDenoiser(inner, tile=256)
    for size in [(5, 5), (20, 100), (100, 100)]:
        assert tiled(torch.zeros(1, 3, *size), torch.ones(1)).shape == (1, 3, *size)
    assert {shape[2:] for shape in inner.batches} == {(48, 48)}
    assert tiled.info.native_size is None and tiled.info.multiple_of == 1


def test_gradients_flow_through_tiles():
    whole, tiled = Blur(), TiledDenoiser(Blur(), tile=32, overlap=8)
    x = torch.randn(1, 3, 50, 41, requires_grad=True)
    weight = torch.randn(1, 3, 50, 41)
    gradients = [torch.autograd.grad((d(x, torch.ones(1)) * weight).sum(), x)[0] for d in (whole, tiled)]
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("arguments", [{"tile": 0}, {"tile": 32, "overlap": 17}, {"overlap": -8}, {"max_batch": 0}])
def test_impossible_settings_are_refused(arguments):
    with pytest.raises(ParameterError, match="overlap"):
        TiledDenoiser(Blur(), **arguments)


def test_overlap_follows_the_receptive_field_within_limits():
    assert TiledDenoiser(Blur(field=1)).overlap == 16
    assert TiledDenoiser(Blur(field=41)).overlap == 41
    assert TiledDenoiser(Blur(field=41, multiple=8)).overlap == 48
    assert TiledDenoiser(Blur(field=999)).overlap == 64
