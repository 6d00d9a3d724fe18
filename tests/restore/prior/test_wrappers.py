import pytest
import torch

from restore.errors import ParameterError
from restore.prior import Denoiser, EpsilonDenoiser, GaussianDenoiser, SampleDenoiser, VelocityDenoiser

ACP = torch.cumprod(1 - torch.linspace(1e-4, 2e-2, 1000, dtype=torch.float64), 0)
SIGMAS = ((1 - ACP) / ACP).sqrt()


@pytest.fixture
def exact():
    return GaussianDenoiser(torch.full((3, 8, 8), 0.1), torch.eye(192) * 0.04)


def vp_network(exact, kind):
    """The exact VP network of a Gaussian prior; t may lie between timesteps."""

    def network(x_scaled, t):
        low = t.floor().long().clamp(max=998)
        weight = (t.double() - low).clamp(max=1.0)
        s = (SIGMAS[low].log() * (1 - weight) + SIGMAS[low + 1].log() * weight).exp().float()
        root_a = (1 + s * s).rsqrt().view(-1, 1, 1, 1)
        x = x_scaled / root_a
        x0 = exact(x, s)
        eps = (x - x0) / s.view(-1, 1, 1, 1)
        if kind == "epsilon":
            return eps
        return x0 if kind == "sample" else root_a * eps - s.view(-1, 1, 1, 1) * root_a * x0

    return network


WRAPPERS = {"epsilon": EpsilonDenoiser, "velocity": VelocityDenoiser, "sample": SampleDenoiser}


@pytest.mark.parametrize("kind", WRAPPERS)
def test_each_parametrisation_recovers_the_exact_denoiser_between_timesteps(kind, exact):
    denoiser = WRAPPERS[kind](vp_network(exact, kind), ACP, clip=False)
    sigma = torch.tensor([0.0123, 0.2, 1.7, 40.0])
    x = exact.sample(4, torch.Generator().manual_seed(0)) + sigma.view(-1, 1, 1, 1) * torch.randn(4, 3, 8, 8)
    torch.testing.assert_close(denoiser(x, sigma), exact(x, sigma), rtol=1e-3, atol=2e-4)
    assert isinstance(denoiser, Denoiser)


def test_timesteps_meet_the_grid_and_are_clamped_outside():
    denoiser = SampleDenoiser(lambda x, t: x, ACP)
    t = denoiser.timestep(torch.cat([SIGMAS[[0, 17, 500, 999]].float(), torch.tensor([1e-6, 1e6])]))
    torch.testing.assert_close(t, torch.tensor([0.0, 17, 500, 999, 0, 999]), rtol=0, atol=1e-3)
    middle = denoiser.timestep((SIGMAS[[10]] * SIGMAS[[11]]).sqrt().float())
    assert middle.item() == pytest.approx(10.5, abs=1e-3)


def test_the_network_sees_unit_variance():
    seen = []

    def network(x, t):
        seen.append(x.std().item())
        return torch.zeros_like(x)

    x = torch.randn(1, 3, 64, 64) * (0.25 + 100.0) ** 0.5
    EpsilonDenoiser(network, ACP)(x, torch.tensor([10.0]))
    assert seen[0] == pytest.approx((100.25 / 101) ** 0.5, rel=0.05)


def test_learned_variance_channels_are_dropped():
    def network(x, t):
        return torch.cat([torch.zeros_like(x), torch.full_like(x, 9.0)], dim=1)

    x = torch.rand(2, 3, 4, 4)
    assert torch.equal(EpsilonDenoiser(network, ACP)(x, torch.tensor([0.1, 3.0])), x)


def test_clipping_is_on_unless_refused():
    x = torch.full((1, 3, 2, 2), 5.0)
    sigma = torch.tensor([0.5])
    assert SampleDenoiser(lambda x, t: torch.full_like(x, 3.0), ACP)(x, sigma).max() == 1.0
    assert SampleDenoiser(lambda x, t: torch.full_like(x, 3.0), ACP, clip=False)(x, sigma).max() == 3.0


def test_gradients_flow_to_the_input(exact):
    x = torch.zeros(1, 3, 8, 8, requires_grad=True)
    EpsilonDenoiser(vp_network(exact, "epsilon"), ACP)(x, torch.tensor([0.2])).sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, torch.full_like(x, 0.5), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("bad", [torch.tensor([0.5]), torch.tensor([0.5, 0.6]), torch.tensor([1.0, 0.5])])
def test_a_sequence_that_is_no_schedule_is_refused(bad):
    with pytest.raises(ParameterError, match="alphas_cumprod"):
        SampleDenoiser(lambda x, t: x, bad)
