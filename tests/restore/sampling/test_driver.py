from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch

from restore.degradations import AveragePool, GaussianNoise, Identity, Mask
from restore.errors import CancelledError, NumericalError, ParameterError, RuntimeUnavailableError
from restore.prior import GaussianDenoiser, power_law_spectrum
from restore.sampling import (
    SAMPLERS,
    DenoiserCall,
    Problem,
    RowNoise,
    ddnm,
    denoise_posterior,
    dps,
    log_grid,
    pigdm,
    run,
    run_many,
    unified,
)

PRIOR = GaussianDenoiser(torch.zeros(1, 6, 6), spectrum=power_law_spectrum(6, 6))
LEVELS = log_grid(5, 1.0, 0.03)


class Counting:
    """The Gaussian prior, its calls remembered; may answer NaN from some call on."""

    def __init__(self, broken_from=None, differentiable=True):
        self.calls, self.broken_from = [], broken_from
        self.info = replace(PRIOR.info, differentiable=differentiable)

    def __call__(self, x, sigma):
        self.calls.append((x.shape[0], sigma.clone(), torch.is_grad_enabled()))
        x0 = PRIOR(x, sigma)
        return x0 * float("nan") if self.broken_from is not None and len(self.calls) > self.broken_from else x0


def problem(rows=2, seed=0, indices=None, degradation=None):
    degradation = degradation or AveragePool(2, noise=GaussianNoise(0.05))
    indices = range(rows) if indices is None else indices
    pictures = PRIOR.sample(8, torch.Generator().manual_seed(3))[list(indices)]
    noisy = degradation.forward(pictures)
    y = noisy + 0.05 * RowNoise(99, indices).like(noisy)
    return Problem(y, degradation, PRIOR.info, RowNoise(seed, indices))


@pytest.mark.parametrize("name", SAMPLERS)
def test_calls_are_counted_and_reported(name):
    denoiser, seen = Counting(), []
    x = run(SAMPLERS[name](problem(), LEVELS), denoiser, on_step=seen.append)
    assert x.shape == (2, 1, 6, 6)
    assert not x.requires_grad
    assert [p.step for p in seen] == list(range(len(denoiser.calls)))
    assert {p.steps for p in seen} == {len(denoiser.calls)}
    assert len(denoiser.calls) == (25 if name == "daps" else 5)
    assert seen[0].sigma == pytest.approx(1.0)
    assert all(p.x0.shape == x.shape and not p.x0.requires_grad for p in seen)


def test_travelling_ddnm_counts_its_repeats():
    denoiser, seen = Counting(), []
    run(ddnm(problem(), LEVELS, travel_length=2, repeats=3), denoiser, on_step=seen.append)
    assert [p.steps for p in seen] == [13] * 13
    sigmas = [p.sigma for p in seen]
    assert sigmas == pytest.approx([*LEVELS[:2] * 3, *LEVELS[2:4] * 3, LEVELS[4]])


@pytest.mark.parametrize("steps", [1, 6])
def test_denoising_makes_the_calls_it_announces(steps):
    denoiser, seen = Counting(), []
    task = problem(degradation=Identity(GaussianNoise(0.1)))
    run(denoise_posterior(task, steps=steps, fidelity=0.3), denoiser, on_step=seen.append)
    assert [(p.step, p.steps) for p in seen] == [(i, steps) for i in range(steps)]
    assert seen[0].sigma == pytest.approx(0.1)
    assert all(p.sigma <= 0.1 + 1e-6 for p in seen)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_row_depends_on_its_seed_and_index_only(name):
    together = run(SAMPLERS[name](problem(indices=[3, 1, 4, 2]), LEVELS), PRIOR)
    alone = run(SAMPLERS[name](problem(indices=[4]), LEVELS), PRIOR)
    torch.testing.assert_close(alone[0], together[2], rtol=1e-5, atol=1e-5)
    again = run(SAMPLERS[name](problem(indices=[4]), LEVELS), PRIOR)
    assert torch.equal(alone, again)


def test_denoising_rows_depend_on_seed_and_index_only():
    sampler = partial(denoise_posterior, steps=5, fidelity=0.0)
    noise = Identity(GaussianNoise(0.1))
    together = run(sampler(problem(indices=[3, 1, 4, 2], degradation=noise)), PRIOR)
    alone = run(sampler(problem(indices=[4], degradation=noise)), PRIOR)
    torch.testing.assert_close(alone[0], together[2], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", [n for n in SAMPLERS if n != "unified"])
def test_another_seed_gives_another_sample(name):
    one, other = (run(SAMPLERS[name](problem(seed=s), LEVELS), PRIOR) for s in (0, 1))
    assert not torch.allclose(one, other, atol=1e-3)


def test_only_differentiating_samplers_record_gradients():
    for name in SAMPLERS:
        denoiser = Counting()
        with torch.enable_grad():
            run(SAMPLERS[name](problem(), LEVELS), denoiser)
        assert {c[2] for c in denoiser.calls} == {name in ("dps", "pigdm")}, name


@pytest.mark.parametrize("sampler", [dps, pigdm])
def test_a_prior_without_gradients_is_refused(sampler):
    with pytest.raises(RuntimeUnavailableError, match="differentiates"):
        run(sampler(problem(), LEVELS), Counting(differentiable=False))


@pytest.mark.parametrize("name", SAMPLERS)
def test_cancelling_stops_before_the_next_call_and_closes_the_sampler(name):
    denoiser = Counting()
    sampling = SAMPLERS[name](problem(), LEVELS)
    with pytest.raises(CancelledError, match="step 3 of"):
        run(sampling, denoiser, cancelled=lambda: len(denoiser.calls) == 2)
    assert len(denoiser.calls) == 2
    assert list(sampling) == []


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_broken_prior_is_named_with_its_step(name):
    sampling = SAMPLERS[name](problem(), LEVELS)
    with pytest.raises(NumericalError, match="'gaussian' gave NaN or infinity at step 3 of"):
        run(sampling, Counting(broken_from=2))
    assert list(sampling) == []


def test_a_broken_data_step_is_told_from_a_broken_prior():
    class Broken(AveragePool):
        def gain_step(self, d, y, v):
            return super().gain_step(d, y, v) / 0.0

    task = problem()
    broken = Problem(task.y, Broken(2, noise=GaussianNoise(0.05)), task.prior, task.noise)
    with pytest.raises(NumericalError, match="data step"):
        run(unified(broken, LEVELS), PRIOR)


def test_an_error_in_the_caller_closes_the_sampler():
    sampling = unified(problem(), LEVELS)

    def fail(progress):
        raise KeyError("caller")

    with pytest.raises(KeyError):
        run(sampling, PRIOR, on_step=fail)
    assert list(sampling) == []


def mixed():
    return [
        *(SAMPLERS[name](problem(rows=2, seed=i), LEVELS) for i, name in enumerate(SAMPLERS)),
        unified(problem(rows=3, seed=4), log_grid(3, 0.5, 0.03), fidelity=0.2),
        denoise_posterior(problem(degradation=Identity(GaussianNoise(0.1)))),
    ]


@pytest.mark.parametrize("max_batch", [1, 3, 100])
def test_many_at_once_give_what_each_gives_alone(max_batch):
    denoiser = Counting()
    results = run_many(mixed(), denoiser, max_batch)
    for together, sampling in zip(results, mixed(), strict=True):
        torch.testing.assert_close(together, run(sampling, PRIOR), rtol=1e-5, atol=1e-5)
    assert all(rows <= max_batch or graph for rows, _, graph in denoiser.calls)


def test_many_at_once_share_batches():
    denoiser = Counting()
    samplings = [unified(problem(rows=1, seed=i), log_grid(n, 0.5, 0.03)) for i, n in enumerate((2, 4, 4))]
    run_many(samplings, denoiser, max_batch=8)
    assert [rows for rows, _, _ in denoiser.calls] == [3, 3, 2, 2]
    assert len(denoiser.calls[1][1].unique()) == 2


def test_different_sizes_do_not_share_a_batch():
    def constant(shape):
        x = yield DenoiserCall(torch.zeros(1, 1, *shape), torch.ones(1), 0, 1)
        return x

    class Shapes(Counting):
        def __call__(self, x, sigma):
            self.calls.append(tuple(x.shape))
            return x

    denoiser = Shapes()
    results = run_many([constant((4, 4)), constant((4, 6)), constant((4, 4))], denoiser)
    assert sorted(denoiser.calls) == [(1, 1, 4, 6), (2, 1, 4, 4)]
    assert [tuple(r.shape[2:]) for r in results] == [(4, 4), (4, 6), (4, 4)]


def test_one_failure_among_many_closes_all():
    samplings = mixed()
    with pytest.raises(NumericalError):
        run_many(samplings, Counting(broken_from=4))
    assert all(list(s) == [] for s in samplings)


def test_an_empty_batch_is_refused():
    with pytest.raises(ParameterError):
        run_many([], PRIOR, max_batch=0)


def test_no_samplers_give_no_results():
    assert run_many([], PRIOR) == []


@pytest.mark.parametrize("name", ["unified", "ddrm", "ddnm", "diffpir", "ddpg", "daps"])
def test_known_pixels_of_a_noise_free_mask_are_kept(name):
    known = torch.rand(6, 6, generator=torch.Generator().manual_seed(0)) > 0.5
    degradation, truth = Mask(known), PRIOR.sample(2, torch.Generator().manual_seed(1))
    task = Problem(degradation.forward(truth), degradation, PRIOR.info, RowNoise(0, [0, 1]))
    x = run(SAMPLERS[name](task, LEVELS), PRIOR)
    torch.testing.assert_close(x[..., known], truth[..., known], rtol=0, atol=1e-4)
