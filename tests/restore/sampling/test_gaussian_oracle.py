"""Every sampler on every linear degradation, against the exact answer under a Gaussian prior.

Three numbers are bounded, all in units of the least mean squared error (the trace of the exact posterior covariance per
value), over many pictures at once: `error`, the squared distance to the truth, 1 for the posterior mean and 2 for a
posterior sample; `excess`, that to the exact posterior mean, 0 and 1; and `spread`, half the squared distance of two
runs with different seeds, 0 and 1, which unlike the excess holds no bias.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import pytest
import torch
from torch import Tensor

from restore.degradations import (
    AveragePool,
    Bicubic,
    Blur,
    Decimation,
    GaussianNoise,
    Grey,
    Identity,
    LinearDegradation,
    Mask,
    Opponent,
    gaussian_kernel,
    motion_kernel,
)
from restore.prior import GaussianDenoiser, operator_matrix, power_law_spectrum
from restore.sampling import (
    Problem,
    RowNoise,
    Sampling,
    daps,
    ddnm,
    ddpg,
    ddpm_grid,
    ddrm,
    denoise_posterior,
    diffpir,
    dps,
    few_step_sigmas,
    pigdm,
    poly,
    red_diff,
    run,
    unified,
)

SIZE = 8
KNOWN = torch.rand(SIZE, SIZE, generator=torch.Generator().manual_seed(7)) > 0.5
NOISE = GaussianNoise(0.05)

OPERATORS: dict[str, LinearDegradation] = {
    "identity": Identity(GaussianNoise(0.2)),
    "mask": Mask(KNOWN, NOISE),
    "pool": AveragePool(2, noise=NOISE),
    "bicubic": Bicubic(2, noise=NOISE),
    "blur": Blur(gaussian_kernel(1.0, 5), noise=NOISE),
    "grey": Grey(NOISE),
    "opponent": Opponent(GaussianNoise(0.2)),
    "motion": Blur(motion_kernel(3, 5), "valid", noise=NOISE),
    "decimated blur": Decimation(2, noise=NOISE) @ Blur(gaussian_kernel(0.8, 5)),
}


#: The one without a fast exact gain step (conjugate gradients): fewer pictures, and fewer levels below.
ITERATIVE = "motion"
WITH_SPECTRUM = ("identity", "mask", "pool", "bicubic", "blur", "grey", "opponent")


@dataclass(frozen=True)
class Case:
    """A degradation, measurements of pictures drawn from the prior, and what can be known about them."""

    prior: GaussianDenoiser
    degradation: LinearDegradation
    truth: Tensor
    y: Tensor
    mean: Tensor
    least: float

    def solve(self, sampler: Callable[[Problem], Sampling], seed: int = 0) -> Tensor:
        noise = RowNoise(seed, range(len(self.truth)))
        return run(sampler(Problem(self.y, self.degradation, self.prior.info, noise)), self.prior)

    def error(self, x: Tensor) -> float:
        return (x - self.truth).square().mean().item() / self.least

    def excess(self, x: Tensor) -> float:
        return (x - self.mean).square().mean().item() / self.least

    def spread(self, x: Tensor, other: Tensor) -> float:
        return 0.5 * (x - other).square().mean().item() / self.least


def grey_prior(side: int = 5) -> GaussianDenoiser:
    """Channels correlated like those of photographs (0.9), smooth in space."""
    channels = torch.full((3, 3), 0.9, dtype=torch.float64) + 0.1 * torch.eye(3, dtype=torch.float64)
    plane = GaussianDenoiser(torch.zeros(1, side, side), spectrum=power_law_spectrum(side, side))
    return GaussianDenoiser(torch.zeros(3, side, side), torch.kron(channels, plane.covariance))


@cache
def case(name: str) -> Case:
    degradation, generator = OPERATORS[name], torch.Generator().manual_seed(1)
    if name == "grey":
        prior = grey_prior()
    else:
        channels = 3 if name == "opponent" else 1
        prior = GaussianDenoiser(torch.zeros(channels, SIZE, SIZE), spectrum=power_law_spectrum(SIZE, SIZE))
    truth = prior.sample(16 if name == ITERATIVE else 120, generator)
    y = degradation.measure(truth, generator)
    variance = degradation.noise.variance(y)[0].item()
    matrix = operator_matrix(degradation.forward, (truth.shape[1], truth.shape[2], truth.shape[3]))
    mean, covariance = prior.posterior(y, matrix, variance)
    return Case(prior, degradation, truth, y, mean.float(), covariance.trace().item() / truth[0].numel())


def from_noise(name: str, steps: int = 20) -> tuple[float, ...]:
    """Levels for the samplers that start from noise."""
    return poly(6, 1.0, 0.03) if name == ITERATIVE else poly(steps, 40.0, 0.01)


def test_the_oracle_itself_is_consistent():
    for name in OPERATORS:
        known = case(name)
        assert known.error(known.mean) == pytest.approx(1.0, abs=0.15), name


@pytest.mark.parametrize("name", OPERATORS)
def test_fidelity_one_reaches_the_least_error_in_eight_calls(name):
    """Within 6 %; with four calls within 15 %."""
    known = case(name)
    assert known.excess(known.solve(unified)) < (0.12 if name == ITERATIVE else 0.06)
    if name != ITERATIVE:
        assert known.excess(known.solve(partial(unified, sigmas=few_step_sigmas(4)))) < 0.15


@pytest.mark.parametrize("name", [n for n in OPERATORS if n != ITERATIVE])
def test_fidelity_scales_the_spread_from_none_to_a_sample(name):
    """In eight calls: variance 0.6 to 1.1 of the exact one at fidelity 0, 0.06 to 0.12 at 0.5, none at 1."""
    known = case(name)
    spreads = []
    for fidelity in (0.0, 0.5, 1.0):
        x, other = (known.solve(partial(unified, fidelity=fidelity), seed) for seed in (0, 1))
        spreads.append(known.spread(x, other))
    assert 0.6 < spreads[0] < 1.15
    assert 0.06 < spreads[1] < 0.13
    assert spreads[2] == 0.0


def test_denoising_is_exact_in_one_call_and_interpolates_to_a_sample():
    known = case("identity")
    assert known.excess(known.solve(denoise_posterior)) < 1e-8
    assert known.excess(known.solve(partial(denoise_posterior, steps=8))) < 1e-8

    def spread(fidelity, steps):
        x, other = (known.solve(partial(denoise_posterior, steps=steps, fidelity=fidelity), seed) for seed in (0, 1))
        return known.spread(x, other)

    sample = spread(0.0, 8)
    assert 0.6 < sample < 0.8
    assert 0.7 < spread(0.0, 20) < 0.9
    assert spread(0.5, 8) == pytest.approx(sample / 4, rel=1e-3)


# sampler, lower and upper bound of the excess: 1 is a calibrated posterior sample
Bound = tuple[Callable[[str], Callable[[Problem], Sampling]], float, float]
BOUNDS: dict[str, Bound] = {
    "diffpir, calibrated": (lambda n: partial(diffpir, sigmas=from_noise(n), lam=1.0), 0.5, 1.4),
    "diffpir": (lambda n: partial(diffpir, sigmas=from_noise(n)), 0.6, 2.3),
    "ddpg": (lambda n: partial(ddpg, sigmas=from_noise(n)), 0.5, 1.7),
    "red-diff": (lambda n: partial(red_diff, sigmas=ddpm_grid(100, 40.0, 0.01)), 0.0, 1.0),
    "daps, calibrated": (lambda n: partial(daps, sigmas=from_noise(n), ode_steps=1), 0.8, 1.3),
    "daps": (lambda n: partial(daps, sigmas=from_noise(n)), 0.9, 2.2),
    "dps": (lambda n: partial(dps, sigmas=ddpm_grid(60, 40.0, 0.01)), 1.0, 5.5),
    "dps, larger step": (lambda n: partial(dps, sigmas=ddpm_grid(60, 40.0, 0.01), step_size=3.0), 0.3, 1.4),
    "pigdm": (lambda n: partial(pigdm, sigmas=from_noise(n)), 0.5, 0.9),
}


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("method", BOUNDS)
def test_published_sampler_lies_within_its_bound(method, name):
    make, low, high = BOUNDS[method]
    known = case(name)
    assert low <= known.excess(known.solve(make(name))) <= high


@pytest.mark.parametrize("name", WITH_SPECTRUM)
@pytest.mark.parametrize(
    ("sampler", "high", "blurred"),
    [
        (partial(ddrm), 1.1, 0.7),
        (partial(ddnm), 1.1, 2.7),
        (partial(ddnm, travel_length=3, repeats=2), 1.1, 2.2),
    ],
)
def test_spectral_sampler_lies_within_its_bound(sampler, high, blurred, name):
    """Blur has singular values down to almost zero, whose noise DDNM+ lets in as soon as its own is as large."""
    known = case(name)
    x = known.solve(partial(sampler, sigmas=from_noise(name)))
    assert 0.1 < known.excess(x) < (blurred if name == "blur" else high)
