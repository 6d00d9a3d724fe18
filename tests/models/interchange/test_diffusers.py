"""Our priors in diffusers' pipelines, diffusers' networks and schedulers in our samplers."""

import diffusers
import pytest
import torch

from models.errors import UnsupportedNetworkError
from models.interchange import from_diffusers, scheduler_for, sigmas_of, to_diffusers
from models.loaders import load
from models.registry import load_denoiser
from models.self_test import photographs
from restore.errors import ParameterError
from restore.prior import Denoiser
from tests.models.loaders.conftest import randomise


@pytest.fixture(scope="module")
def prior():
    return load_denoiser(device="cpu", runtime="torch", precision="fp32")


@pytest.fixture(scope="module")
def picture():
    return photographs()[0][None, :, 64:96, 64:96]


@pytest.mark.parametrize("kind", [None, "DDPMScheduler", "DDIMScheduler"])
def test_a_schedulers_own_step_finds_our_estimate(kind, prior, picture):
    given = None if kind is None else getattr(diffusers, kind)(clip_sample=False)
    unet, scheduler = to_diffusers(prior, given)
    scheduler.set_timesteps(50)
    bars = scheduler.alphas_cumprod
    for t in (scheduler.timesteps[20], scheduler.timesteps[45]):
        a = bars[t]
        sigma = ((1 - a) / a).sqrt()
        noise = torch.randn(picture.shape, generator=torch.Generator().manual_seed(0))
        z = a.sqrt() * picture + (1 - a).sqrt() * noise
        found = scheduler.step(unet(z, t).sample, t, z).pred_original_sample
        known = sigma.clamp(prior.info.sigma_min, prior.info.sigma_max)
        expected = prior(picture + sigma * noise, known.reshape(1))
        torch.testing.assert_close(found, expected, rtol=0, atol=2e-4)


@pytest.mark.parametrize("pipeline", [diffusers.DDIMPipeline, diffusers.DDPMPipeline])
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_pipeline_of_diffusers_draws_from_our_prior(pipeline, prior):
    unet, scheduler = to_diffusers(prior, sample_size=32)
    if pipeline is diffusers.DDPMPipeline:
        scheduler = diffusers.DDPMScheduler.from_config(scheduler.config)
    pipe = pipeline(unet=unet, scheduler=scheduler)
    pipe.set_progress_bar_config(disable=True)
    drawn = pipe(batch_size=2, num_inference_steps=6, generator=torch.Generator().manual_seed(0), output_type="np")
    assert drawn.images.shape == (2, 32, 32, 3) and drawn.images.std() > 0.01
    # Smoother than noise: neighbours resemble each other.
    assert abs(drawn.images[:, 1:] - drawn.images[:, :-1]).mean() < 0.5 * drawn.images.std()


def test_beyond_its_levels_a_prior_is_asked_for_the_nearest(prior):
    unet, _ = to_diffusers(prior, diffusers.DDPMScheduler())
    z = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    output = unet(z, 999, return_dict=False)[0]
    assert bool(torch.isfinite(output).all()) and float((output - z).square().mean()) < 0.01


def test_the_scheduler_for_a_prior_covers_what_it_knows(prior):
    bars = scheduler_for(prior.info).alphas_cumprod.double()
    sigma = ((1 - bars) / bars).sqrt()
    assert float(sigma[0]) == pytest.approx(prior.info.sigma_min, rel=2e-3)
    assert float(sigma[-1]) == pytest.approx(prior.info.sigma_max, rel=1e-3)


@pytest.fixture(scope="module")
def network():
    return randomise(
        diffusers.UNet2DModel(
            sample_size=16, block_out_channels=(32, 64), down_block_types=("DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D"), layers_per_block=1, norm_num_groups=8,
        )
    )  # fmt: skip


def test_a_pipelines_network_in_memory_is_the_prior_of_its_folder(network, tmp_path):
    pipe = diffusers.DDPMPipeline(network, diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2"))
    ours = from_diffusers(pipe.unet, pipe.scheduler, "theirs")
    assert isinstance(ours, Denoiser) and ours.info.name == "theirs" and ours.info.native_size == 16
    pipe.save_pretrained(tmp_path)
    x, sigma = torch.randn(2, 3, 16, 16) * 0.5, torch.tensor([0.1, 1.0])
    with torch.no_grad():
        torch.testing.assert_close(ours(x, sigma), load(tmp_path).network(x, sigma), rtol=0, atol=1e-5)


def test_networks_that_are_no_priors_are_refused(network):
    blocks = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
    latent = diffusers.UNet2DModel(in_channels=4, out_channels=4, block_out_channels=(32, 64), **blocks)
    with pytest.raises(UnsupportedNetworkError, match="RGB"):
        from_diffusers(latent, diffusers.DDPMScheduler())
    with pytest.raises(UnsupportedNetworkError, match="not known"):
        from_diffusers(network, diffusers.FlowMatchEulerDiscreteScheduler())
    with pytest.raises(UnsupportedNetworkError, match="epsilon"):
        to_diffusers(
            from_diffusers(network, diffusers.DDPMScheduler()), diffusers.DDIMScheduler(prediction_type="sample")
        )


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")
@pytest.mark.parametrize(
    ("scheduler", "first"),
    [
        (diffusers.EDMEulerScheduler(sigma_min=0.01, sigma_max=5.0), 5.0),
        (diffusers.DDIMScheduler(timestep_spacing="trailing"), 157.4),
        (diffusers.DDPMScheduler(), None),
        (diffusers.DPMSolverMultistepScheduler(), None),
        (diffusers.EulerDiscreteScheduler(), None),
    ],
)
def test_their_schedulers_are_schedules_of_ours(scheduler, first, prior, picture):
    from restore.degradations.identity import Identity
    from restore.degradations.noise import GaussianNoise
    from restore.sampling.driver import run
    from restore.sampling.protocol import Problem
    from restore.sampling.unified import unified

    levels = sigmas_of(scheduler, 20)
    assert 10 <= len(levels) <= 20 and list(levels) == sorted(set(levels), reverse=True)
    if first is not None:
        assert levels[0] == pytest.approx(first, rel=1e-3)
    few = sigmas_of(scheduler, 20, sigma_max=0.3, sigma_min=0.1)
    assert few and max(few) <= 0.3
    noisy = picture + 0.2 * torch.randn(picture.shape, generator=torch.Generator().manual_seed(0))
    problem = Problem(noisy, Identity(GaussianNoise(0.2)), prior.info)
    restored = run(unified(problem, few[:1]), prior)
    assert float((restored - picture).square().mean()) < 0.5 * 0.2**2


def test_what_has_no_noise_levels_is_refused():
    with pytest.raises(UnsupportedNetworkError, match="interpolates"):
        sigmas_of(diffusers.FlowMatchEulerDiscreteScheduler(), 10)
    with pytest.raises(ParameterError, match="none of the 10 levels"):
        sigmas_of(diffusers.EDMEulerScheduler(), 10, sigma_max=1e-4)
