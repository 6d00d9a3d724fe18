"""The embedded prior's network."""

import pytest
import torch

from models.unet import DenoisingUNet


@pytest.fixture(params=[("silu", "blocks"), ("hardswish", "levels")], ids="-".join)
def network(request: pytest.FixtureRequest) -> DenoisingUNet:
    torch.manual_seed(0)
    activation, modulation = request.param
    model = DenoisingUNet(
        channels=(8, 16), blocks=(1, 1), middle=1, embedding=16, activation=activation, modulation=modulation
    )
    with torch.no_grad():  # the last layer starts at zero, which would hide everything behind it
        for p in model.parameters():
            p.add_(0.05 * torch.randn(p.shape))
    return model.eval()


def test_untrained_network_is_the_wiener_filter_of_white_data() -> None:
    model = DenoisingUNet(channels=(8, 16), blocks=(1, 1), middle=1)
    x, sigma = torch.randn(2, 3, 16, 16), torch.tensor([0.1, 2.0])
    expected = (0.25 / (0.25 + sigma.square())).view(-1, 1, 1, 1) * x
    torch.testing.assert_close(model(x, sigma) - _constant(model, x, sigma), expected, atol=1e-5, rtol=1e-4)


def _constant(model: DenoisingUNet, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """The bias of the last layer, scaled by c_out: all that is left of the network at initialisation."""
    bias = torch.nn.functional.pixel_shuffle(model.tail.bias.view(1, -1, 1, 1).expand(2, -1, 8, 8), 2)
    c_out = sigma * 0.5 / (sigma.square() + 0.25).sqrt()
    return c_out.view(-1, 1, 1, 1) * bias


def test_rows_do_not_depend_on_each_other(network: DenoisingUNet) -> None:
    x, sigma = torch.randn(3, 3, 16, 24), torch.tensor([0.05, 0.5, 5.0])
    together = network(x, sigma)
    for row in range(3):
        alone = network(x[row : row + 1], sigma[row : row + 1])
        torch.testing.assert_close(alone, together[row : row + 1], atol=1e-5, rtol=1e-5)


def test_answer_far_from_the_border_does_not_depend_on_the_size(network: DenoisingUNet) -> None:
    x, sigma = torch.randn(1, 3, 128, 128), torch.tensor([0.3])
    whole = network(x, sigma)
    part = network(x[..., 16:112, 16:112], sigma)
    torch.testing.assert_close(part[..., 44:52, 44:52], whole[..., 60:68, 60:68], atol=1e-5, rtol=1e-5)


def test_survives_a_round_trip_through_safetensors(network: DenoisingUNet, tmp_path) -> None:
    network.save_pretrained(tmp_path)
    assert {p.suffix for p in tmp_path.iterdir()} == {".json", ".safetensors"}
    again = DenoisingUNet.from_pretrained(tmp_path)
    x, sigma = torch.randn(1, 3, 8, 8), torch.tensor([0.2])
    assert torch.equal(network(x, sigma), again(x, sigma))
    assert again.multiple_of == 4


def test_levels_it_was_never_trained_on_count_as_the_nearest_known(network: DenoisingUNet) -> None:
    x = torch.randn(1, 3, 8, 8)
    lowest = torch.tensor([network.config.sigma_min])
    assert torch.equal(network.network(x, lowest), network.network(x, lowest / 10))
    highest = torch.tensor([network.config.sigma_max])
    assert torch.equal(network.network(x, highest), network.network(x, highest * 10))


def test_answer_depends_on_the_level_wherever_it_is_told(network: DenoisingUNet) -> None:
    x = torch.randn(1, 3, 8, 8)
    told = [network.network(x, torch.tensor([sigma])) for sigma in (0.05, 0.5)]
    assert (told[0] - told[1]).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("modulation", "told"),
    [
        ("blocks", ["down.0.0", "down.1.0", "up.0.0", "up.1.0", "bottom.0"]),
        ("levels", ["down_film.0", "down_film.1", "up_film.0"]),
    ],
)
def test_level_is_told_where_the_modulation_says(modulation: str, told: list[str]) -> None:
    model = DenoisingUNet(channels=(8, 16), blocks=(1, 1), middle=1, modulation=modulation)
    found = {name.removesuffix(".film.weight").removesuffix(".weight") for name in model.state_dict() if "film" in name}
    assert {name for name in found if not name.endswith("bias")} == set(told)


@pytest.mark.parametrize("wrong", [{"activation": "tanh"}, {"modulation": "everywhere"}])
def test_unknown_activations_and_modulations_are_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="must be one of"):
        DenoisingUNet(**wrong)  # type: ignore[arg-type]
