import pytest
import torch

from models.denoiser import TorchDenoiser, bf16_in_hardware, network_info, receptive_field
from models.unet import DenoisingUNet
from restore.errors import RuntimeUnavailableError
from restore.prior import Denoiser


def network(**settings):
    torch.manual_seed(0)
    made = DenoisingUNet(**{"channels": (8, 12), "blocks": (1, 1), "middle": 1, "embedding": 16} | settings)
    torch.nn.init.normal_(made.tail.weight, std=0.1)
    return made


def denoiser(precision="fp32", **settings):
    made = network(**settings)
    return TorchDenoiser(made, network_info(made, "tiny"), "cpu", precision)


def test_facts_come_from_the_network():
    info = denoiser(sigma_min=0.02, sigma_max=5.0).info
    assert (info.name, info.channels, info.multiple_of, info.differentiable) == ("tiny", 3, 4, True)
    assert (info.sigma_min, info.sigma_max, info.sigma_data) == (0.02, 5.0, 0.5)
    assert isinstance(denoiser(), Denoiser)


@pytest.mark.parametrize(
    "settings", [{}, {"channels": (4, 4, 4), "blocks": (1, 1, 2)}, {"channels": (4,), "blocks": (1,)}]
)
def test_nothing_beyond_the_receptive_field_matters(settings):
    made = network(**settings).double()
    for p in made.parameters():
        p.data.abs_().add_(0.01)
    field = receptive_field(made)
    side = (2 * field // made.multiple_of + 2) * made.multiple_of
    x = torch.zeros(1, 3, made.multiple_of, side, dtype=torch.float64, requires_grad=True)
    reach = 0
    for column in range(side // 2, side // 2 + made.multiple_of):
        h = made.head(torch.nn.functional.pixel_unshuffle(x, made.patch))
        (gradient,) = torch.autograd.grad(whole(made, h)[..., column].sum(), x)
        touched = gradient.abs().sum((0, 1, 2)).nonzero().flatten()
        reach = max(reach, column - touched.min().item(), touched.max().item() - column)
    assert reach <= field // 2
    assert reach > field // 4


def whole(made, h):
    """The network after its first convolution, in float64 and without the noise embedding."""
    embedding = torch.zeros(1, 16, dtype=torch.float64)
    skips = []
    for level, stage in enumerate(made.down):
        for block in stage:
            h = block(h, embedding)
        skips.append(h)
        if level < len(made.shrink):
            h = made.shrink[level](h)
    for block in made.bottom:
        h = block(h, embedding)
    for level in reversed(range(len(made.up))):
        h = h + skips[level]
        for block in made.up[level]:
            h = block(h, embedding)
        if level > 0:
            h = made.grow[level - 1](h)
    return torch.nn.functional.pixel_shuffle(made.tail(h), made.patch)


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (13, 30)])
def test_any_size_float32_in_and_out(size):
    x = torch.randn(2, 3, *size)
    for precision in ("fp32", "bf16"):
        y = denoiser(precision)(x, torch.tensor([0.1, 1.0]))
        assert y.shape == x.shape and y.dtype == torch.float32 and y.isfinite().all()


def test_the_answer_is_the_networks_clipped():
    made = network()
    x, sigma = 3 * torch.randn(2, 3, 16, 16), torch.tensor([0.2, 5.0])
    with torch.no_grad():
        expected = made(x, sigma).clamp(-1, 1)
    answer = TorchDenoiser(made, network_info(made, "tiny"), "cpu", "fp32")(x, sigma)
    torch.testing.assert_close(answer, expected)
    assert answer.abs().max() == 1.0


def test_bfloat16_stays_close_to_float32_and_closer_at_low_noise():
    errors = []
    for level in (2 / 127.5, 15 / 127.5):
        clean = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) - 0.5
        x = clean + level * torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))
        sigma = torch.tensor([level])
        difference = denoiser("bf16")(x, sigma) - denoiser("fp32")(x, sigma)
        errors.append(difference.square().mean().sqrt().item())
        assert 0 < errors[-1] < 0.05 * level
    assert errors[0] < errors[1]


def test_noise_free_pictures_are_left_alone():
    x = torch.rand(1, 3, 8, 8) * 2 - 1
    torch.testing.assert_close(denoiser()(x, torch.zeros(1)), x, rtol=0, atol=1e-3)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_gradients_flow_when_asked_and_only_then(precision):
    tiny = denoiser(precision)
    x = 0.1 * torch.randn(1, 3, 9, 9)
    assert not tiny(x, torch.ones(1)).requires_grad
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(tiny(x, torch.ones(1)).sum(), x)
    assert gradient.abs().sum() > 0
    with torch.no_grad():
        assert not tiny(x, torch.ones(1)).requires_grad


def test_rows_do_not_depend_on_each_other():
    tiny = denoiser()
    x, sigma = torch.randn(3, 3, 16, 16), torch.tensor([0.02, 0.5, 4.0])
    together = tiny(x, sigma)
    for i in range(3):
        torch.testing.assert_close(tiny(x[i : i + 1], sigma[i : i + 1])[0], together[i], rtol=1e-5, atol=1e-5)


def test_auto_precision_follows_the_hardware():
    expected = "bf16" if bf16_in_hardware(torch.device("cpu")) else "fp32"
    assert denoiser("auto").precision == expected
    assert not bf16_in_hardware(torch.device("meta"))


def test_an_unknown_precision_is_refused():
    with pytest.raises(RuntimeUnavailableError, match="int4"):
        denoiser("int4")
