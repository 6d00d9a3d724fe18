"""Our priors in deepinv's algorithms, deepinv's denoisers in ours."""

import pytest
import torch

from models.interchange import from_deepinv, to_deepinv
from models.registry import load_denoiser
from models.self_test import photographs
from restore.degradations.adapter import DeepinvAdapter
from restore.errors import ParameterError
from restore.prior import Denoiser, GaussianDenoiser, power_law_spectrum

deepinv = pytest.importorskip("deepinv")


@pytest.fixture(scope="module")
def prior():
    return load_denoiser(device="cpu", runtime="torch", precision="fp32")


@pytest.fixture(scope="module")
def picture():
    return photographs()[0][None, :, 64:128, 64:128]


def psnr(a, b, peak):
    return float(-10 * torch.log10((a - b).square().mean() / peak**2))


def test_a_prior_answers_as_it_does_here(prior, picture):
    theirs = to_deepinv(prior)
    assert isinstance(theirs, deepinv.models.Denoiser)
    noisy = picture + 0.2 * torch.randn(picture.shape, generator=torch.Generator().manual_seed(0))
    expected = (prior(noisy, torch.tensor([0.2])) + 1) / 2
    for sigma in (0.1, torch.tensor(0.1), torch.tensor([0.1])):
        torch.testing.assert_close(theirs((noisy + 1) / 2, sigma), expected, rtol=0, atol=1e-5)
    both = theirs((torch.cat([noisy, noisy]) + 1) / 2, torch.tensor([0.1, 0.05]))
    torch.testing.assert_close(both[:1], expected, rtol=0, atol=1e-5)
    with pytest.raises(ParameterError, match="2 noise levels for 1"):
        theirs(noisy, torch.tensor([0.1, 0.2]))


def test_gradients_flow_through(prior, picture):
    x = ((picture + 1) / 2).requires_grad_()
    to_deepinv(prior)(x, 0.1).sum().backward()
    assert x.grad is not None and float(x.grad.abs().sum()) > 0


def test_deepinvs_plug_and_play_restores_with_our_prior(prior, picture):
    """deepinv's own HQS loop, its own blur, our denoiser."""
    clean = (picture + 1) / 2
    physics = deepinv.physics.BlurFFT(
        img_size=(3, 64, 64), filter=deepinv.physics.functional.blur.gaussian_blur(sigma=(1.5, 1.5)),
        noise_model=deepinv.physics.GaussianNoise(0.02),
    )  # fmt: skip
    torch.manual_seed(0)
    measured = physics(clean)
    algorithm = deepinv.optim.optim_builder(
        iteration="HQS",
        prior=deepinv.optim.PnP(denoiser=to_deepinv(prior)),
        data_fidelity=deepinv.optim.L2(),
        max_iter=5,
        params_algo={"stepsize": 20.0, "g_param": [0.15, 0.08, 0.05, 0.03, 0.02], "lambda": 1.0},
    )
    restored = algorithm(measured, physics)
    assert psnr(restored, clean, 1.0) > psnr(measured, clean, 1.0) + 1.0


def test_a_denoiser_of_deepinvs_is_a_prior(picture):
    theirs = deepinv.models.TVDenoiser(n_it_max=50)
    ours = from_deepinv(theirs, "tv")
    assert isinstance(ours, Denoiser) and ours.info.name == "tv"
    noisy = picture + 0.3 * torch.randn(picture.shape, generator=torch.Generator().manual_seed(0))
    answer = ours(noisy, torch.tensor([0.3]))
    # It remembers where it stopped: another one for the expected answer.
    expected = deepinv.models.TVDenoiser(n_it_max=50)((noisy + 1) / 2, torch.tensor([0.15])) * 2 - 1
    torch.testing.assert_close(answer, expected.clamp(-1, 1), rtol=0, atol=1e-5)
    assert psnr(answer, picture, 2.0) > psnr(noisy, picture, 2.0) + 2
    with pytest.raises(ParameterError, match="no denoiser"):
        from_deepinv(3)


def test_there_and_back_is_the_same_prior():
    prior = GaussianDenoiser(torch.zeros(3, 8, 8), spectrum=power_law_spectrum(8, 8).expand(3, 8, 8))
    back = from_deepinv(to_deepinv(prior))
    x, sigma = torch.randn(2, 3, 8, 8) * 0.3, torch.tensor([0.1, 0.4])
    torch.testing.assert_close(back(x, sigma), prior(x, sigma).clamp(-1, 1), rtol=0, atol=1e-5)


def test_their_physics_restored_with_our_sampler(prior, picture):
    from restore.sampling.driver import run
    from restore.sampling.protocol import Problem
    from restore.sampling.unified import unified

    physics = deepinv.physics.Inpainting(img_size=(3, 64, 64), mask=0.5, rng=torch.Generator().manual_seed(0))
    degradation = DeepinvAdapter(physics, (3, 64, 64))
    problem = Problem(degradation.forward(picture), degradation, prior.info)
    restored = run(unified(problem), prior)
    assert psnr(restored, picture, 2.0) > 20
