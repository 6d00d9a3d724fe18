import inspect

import diffusers
import pytest
import torch

from models.errors import UnsupportedNetworkError
from models.loaders.parametrisation import CONSISTENCY, EDM, Preconditioned, parametrised
from models.loaders.schedules import VARIANCE_PRESERVING, alphas_cumprod


#: DPMSolverSDEScheduler needs torchsde.
@pytest.mark.parametrize("name", sorted(VARIANCE_PRESERVING - {"DPMSolverSDEScheduler"}))
@pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")
def test_every_schedulers_own_defaults_are_met(name):
    scheduler = getattr(diffusers, name)()
    ours = alphas_cumprod({"_class_name": name})
    theirs = scheduler.alphas_cumprod.double()
    keep = theirs > 1e-6
    torch.testing.assert_close(ours[keep[: len(ours)]], theirs[keep], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("schedule", ["linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid"])
@pytest.mark.parametrize("extra", [{}, {"beta_start": 0.001, "beta_end": 0.03, "num_train_timesteps": 400}])
def test_the_schedules_are_those_of_diffusers(schedule, extra):
    scheduler = diffusers.DDPMScheduler(beta_schedule=schedule, **extra)
    ours = alphas_cumprod(scheduler.config)
    torch.testing.assert_close(ours, scheduler.alphas_cumprod.double(), rtol=1e-4, atol=1e-8)


def test_zero_terminal_snr_loses_its_last_level_only():
    scheduler = diffusers.DDIMScheduler(beta_schedule="scaled_linear", rescale_betas_zero_snr=True)
    ours = alphas_cumprod(scheduler.config)
    assert len(ours) == 999
    torch.testing.assert_close(ours[:990], scheduler.alphas_cumprod.double()[:990], rtol=1e-3, atol=1e-6)


def test_trained_betas_are_taken():
    scheduler = diffusers.DDPMScheduler(trained_betas=[0.01, 0.02, 0.3, 0.4])
    torch.testing.assert_close(alphas_cumprod(scheduler.config), scheduler.alphas_cumprod.double(), rtol=1e-5, atol=0)


@pytest.mark.parametrize("config", [{"beta_schedule": "laplace"}, {"trained_betas": [0.1, 1.5]}, {"beta_end": -1.0}])
def test_what_is_no_schedule_is_refused(config):
    with pytest.raises(UnsupportedNetworkError):
        alphas_cumprod(config)


@pytest.mark.parametrize(
    "config",
    [
        {"_class_name": "FlowMatchEulerDiscreteScheduler"},
        {"_class_name": "ScoreSdeVeScheduler"},
        {"_class_name": None},
        {"_class_name": "DDPMScheduler", "prediction_type": "flow_prediction"},
        {"_class_name": "EulerDiscreteScheduler", "timestep_type": "continuous"},
        {"_class_name": "EDMEulerScheduler", "prediction_type": "sample"},
    ],
)
def test_other_networks_are_refused(config):
    with pytest.raises(UnsupportedNetworkError, match="not known"):
        parametrised(torch.nn.Identity(), config)


class Recorder(torch.nn.Module):
    """A fixed answer; keeps what it was given."""

    def forward(self, x, t):
        self.x, self.t = x, t
        return torch.tanh(x) + 0.1


@pytest.mark.parametrize("name", EDM)
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_edms_preconditioning_is_that_of_diffusers(name, prediction):
    scheduler = getattr(diffusers, name)(prediction_type=prediction, sigma_data=0.4)
    core = Recorder()
    ours = parametrised(core, scheduler.config | {"_class_name": name})
    x, sigma = torch.randn(1, 3, 8, 8) * 0.5, torch.tensor([0.7])
    denoised = ours(x, sigma)
    torch.testing.assert_close(core.x, scheduler.precondition_inputs(x, sigma))
    torch.testing.assert_close(core.t, scheduler.precondition_noise(sigma))
    expected = scheduler.precondition_outputs(x, torch.tanh(core.x) + 0.1, sigma)
    torch.testing.assert_close(denoised, expected.clamp(-1, 1))


def test_a_consistency_models_scalings_are_those_of_diffusers():
    scheduler = diffusers.CMStochasticIterativeScheduler()
    scheduler.set_timesteps(timesteps=[20])
    core = Recorder()
    ours = parametrised(core, scheduler.config | {"_class_name": CONSISTENCY})
    assert isinstance(ours, Preconditioned)
    sigma = scheduler.sigmas[:1].float()
    x = torch.randn(1, 3, 8, 8) * 2
    denoised = ours(x, sigma)
    torch.testing.assert_close(core.x, scheduler.scale_model_input(x, scheduler.timesteps[0]))
    torch.testing.assert_close(core.t, scheduler.timesteps[:1].float())
    c_skip, c_out = scheduler.get_scalings_for_boundary_condition(sigma)
    torch.testing.assert_close(denoised, (c_out * (torch.tanh(core.x) + 0.1) + c_skip * x).clamp(-1, 1))


def test_the_word_for_sample_prediction_before_diffusers_09():
    assert parametrised(Recorder(), {"_class_name": "DDPMScheduler", "predict_epsilon": False}).prediction == "sample"
    assert "predict_epsilon" not in inspect.signature(diffusers.DDPMScheduler.__init__).parameters
