from __future__ import annotations

from functools import partial

import pytest
import torch

from restore.degradations import AveragePool, Blur, GaussianNoise, Identity, motion_kernel
from restore.degradations.base import Degradation, Estimate
from restore.errors import ParameterError
from restore.prior import GaussianDenoiser, power_law_spectrum
from restore.sampling import (
    SAMPLERS,
    Problem,
    RowNoise,
    daps,
    ddnm,
    ddpg,
    ddrm,
    denoise_posterior,
    diffpir,
    dps,
    log_grid,
    pigdm,
    red_diff,
    run,
    unified,
)

PRIOR = GaussianDenoiser(torch.zeros(1, 6, 6), spectrum=power_law_spectrum(6, 6))
NOISY = Problem(torch.zeros(1, 1, 6, 6), Identity(GaussianNoise(0.1)), PRIOR.info)


class LevelMap:
    """Gaussian noise whose level differs from pixel to pixel."""

    def __init__(self, level):
        self.level = level

    def variance(self, mean):
        return self.level.square().expand(mean.shape)

    def sample(self, mean, generator=None):
        return mean + self.level * torch.randn(mean.shape, generator=generator)


class Squared(Degradation):
    """A nonlinear degradation whose gain step is one linearised correction."""

    def forward(self, x):
        return (x + 2.0).square() / 4.0

    def image_shape(self, y):
        return tuple(y.shape)

    def initial_estimate(self, y):
        return Estimate(2.0 * y.clamp(min=0).sqrt() - 2.0, torch.full((len(y),), 0.1))

    def gain_step(self, d, y, v):
        slope = (d + 2.0) / 2.0
        variance = self.noise.variance(y).view(-1, 1, 1, 1)
        v = v.view(-1, 1, 1, 1)
        return d + v * slope / (variance + v * slope.square()) * (y - self.forward(d))


@pytest.mark.parametrize("sigmas", [(), (0.1, 0.2), (0.2, 0.2), (0.2, 0.0), (0.2, -0.1)])
@pytest.mark.parametrize("name", SAMPLERS)
def test_levels_must_fall_and_be_positive(name, sigmas):
    with pytest.raises(ParameterError, match="decreasing"):
        run(SAMPLERS[name](NOISY, sigmas), PRIOR)


@pytest.mark.parametrize(
    "sampler",
    [
        partial(unified, fidelity=1.2),
        partial(unified, stochasticity=-0.1),
        partial(ddrm, eta=2.0),
        partial(ddrm, eta_b=-1.0),
        partial(ddnm, repeats=0),
        partial(ddnm, travel_length=0),
        partial(diffpir, stochasticity=1.5),
        partial(diffpir, lam=0.0),
        partial(ddpg, stochasticity=1.5),
        partial(daps, ode_steps=0),
        partial(pigdm, eta=1.5),
        partial(denoise_posterior, fidelity=-0.5),
        partial(denoise_posterior, steps=0),
    ],
)
def test_a_knob_out_of_range_is_refused(sampler):
    with pytest.raises(ParameterError):
        run(sampler(NOISY), PRIOR)


@pytest.mark.parametrize("sampler", [ddrm, ddnm, ddpg, red_diff, daps, denoise_posterior])
def test_noise_of_one_level_is_demanded_where_needed(sampler):
    degradation = Identity(LevelMap(torch.full((1, 1, 6, 6), 0.1)))
    with pytest.raises(ParameterError, match="one level"):
        run(sampler(Problem(NOISY.y, degradation, PRIOR.info)), PRIOR)


@pytest.mark.parametrize("sampler", [unified, diffpir, pigdm])
def test_noise_per_pixel_is_followed_where_it_can_be(sampler):
    """Half the picture is almost noise-free: it must come out as measured."""
    level = torch.full((1, 1, 6, 6), 1.0)
    level[..., :3] = 1e-3
    y = PRIOR.sample(1, torch.Generator().manual_seed(0))
    problem = Problem(y, Identity(LevelMap(level)), PRIOR.info)
    x = run(sampler(problem, log_grid(20, 1.0, 0.01)), PRIOR)
    torch.testing.assert_close(x[..., :3], y[..., :3], rtol=0, atol=0.02)


@pytest.mark.parametrize("sampler", [ddrm, ddnm, ddpg, daps, pigdm])
def test_a_linear_degradation_is_demanded_where_needed(sampler):
    with pytest.raises(ParameterError, match="needs a linear degradation, which Squared is not"):
        run(sampler(Problem(NOISY.y, Squared(GaussianNoise(0.05)), PRIOR.info)), PRIOR)


@pytest.mark.parametrize("sampler", [unified, partial(diffpir, lam=1.0), red_diff, dps])
def test_a_nonlinear_degradation_is_undone(sampler):
    generator = torch.Generator().manual_seed(2)
    truth = PRIOR.sample(4, generator)
    degradation = Squared(GaussianNoise(0.3))
    y = degradation.measure(truth, generator)
    problem = Problem(y, degradation, PRIOR.info, RowNoise(0, range(4)))
    x = run(sampler(problem, log_grid(60, 1.0, 0.02)), PRIOR)
    start = degradation.initial_estimate(y).x
    if sampler in (unified, red_diff):  # the others draw samples, whose error is twice the least
        assert (x - truth).square().mean() < 0.6 * (start - truth).square().mean()
    misfit = (degradation.forward(x) - y).square().mean().sqrt().item()
    assert misfit < 1.2 * 0.3


@pytest.mark.parametrize("sampler", [ddrm, ddnm])
def test_a_degradation_without_spectrum_is_named(sampler):
    degradation = Blur(motion_kernel(3, 5), noise=GaussianNoise(0.05))
    with pytest.raises(ParameterError, match="Blur has no singular value decomposition"):
        run(sampler(Problem(NOISY.y, degradation, PRIOR.info)), PRIOR)


def test_denoising_refuses_what_is_not_noise():
    with pytest.raises(ParameterError, match="AveragePool"):
        run(denoise_posterior(Problem(NOISY.y, AveragePool(1, noise=GaussianNoise(0.1)), PRIOR.info)), PRIOR)
    with pytest.raises(ParameterError, match="zero"):
        run(denoise_posterior(Problem(NOISY.y, Identity(), PRIOR.info)), PRIOR)


def test_denoising_takes_a_noise_level_per_row():
    levels = torch.tensor([0.05, 0.4])
    y = torch.randn(2, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    problem = Problem(y, Identity(GaussianNoise(levels)), PRIOR.info)
    torch.testing.assert_close(run(denoise_posterior(problem), PRIOR), PRIOR(y, levels))


def test_every_sampler_has_levels_of_its_own():
    """Their number is the paper's; only the first call is made."""
    announced = {name: next(SAMPLERS[name](NOISY)).steps for name in SAMPLERS}
    assert announced == {
        "unified": 8,
        "ddrm": 20,
        "ddnm": 100,
        "diffpir": 100,
        "ddpg": 100,
        "red-diff": 100,
        "daps": 1000,
        "dps": 1000,
        "pigdm": 100,
    }


def test_noise_has_an_index_for_every_row():
    noise = RowNoise(3, [5, 7])
    both = noise.like(torch.zeros(2, 3, 4, 4))
    assert both.shape == (2, 3, 4, 4) and not torch.equal(both[0], both[1])
    assert torch.equal(RowNoise(3, [7]).like(torch.zeros(1, 3, 4, 4)), both[1:])
    with pytest.raises(ParameterError, match="3 rows and there are indices for 2"):
        noise.like(torch.zeros(3, 3, 4, 4))
