import pytest
import torch
from safetensors.torch import save_file

from models.errors import UnsafeWeightsError, UnsupportedNetworkError, WrongShapeError
from models.loaders import load
from models.loaders.loaded import LoadOptions
from restore.errors import ParameterError
from tests.models.loaders.conftest import randomise

deepinv = pytest.importorskip("deepinv")

#: deepinv carries EDM's networks under the checkpoints' own names; its normalisation wants 128 channels or more.
SMALL = dict(
    img_resolution=16, model_channels=128, channel_mult=(1, 2), num_blocks=1, attn_resolutions=(8,), pretrained=None,
    _was_trained_on_minus_one_one=True, pixel_std=0.5,
)  # fmt: skip


def song(kind, **settings):
    return randomise(deepinv.models.NCSNpp(model_type=kind, **(SMALL | settings)))


def dhariwal(**settings):
    return randomise(deepinv.models.ADMUNet(**(SMALL | settings)))


NETWORKS = {
    "ddpm++": lambda **s: song("ddpm", **s),
    "ncsn++": lambda **s: song("ncsn", **s),
    "dhariwal": dhariwal,
}


def saved(path, network, prefix="model.", metadata=None):
    tensors = {f"{prefix}{name}": value.contiguous() for name, value in network.state_dict().items()}
    save_file(tensors, path, metadata)
    return path


@pytest.fixture
def noisy():
    generator = torch.Generator().manual_seed(1)
    sigma = torch.tensor([0.05, 0.4, 3.0])
    return torch.randn(3, 3, 16, 16, generator=generator) * (0.25 + sigma.view(-1, 1, 1, 1) ** 2).sqrt(), sigma


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("prefix", ["model.", ""])
def test_the_denoiser_is_deepinvs(kind, prefix, tmp_path, noisy):
    network = NETWORKS[kind]()
    loaded = load(saved(tmp_path / "edm.safetensors", network, prefix))
    with torch.no_grad():
        expected = network(*noisy, input_in_minus_one_one=True)
    torch.testing.assert_close(loaded.network(*noisy), expected.clamp(-1, 1), rtol=0, atol=1e-4)
    assert (loaded.info.native_size, loaded.info.multiple_of, loaded.prediction) == (16, 2, "edm")
    torch.testing.assert_close(
        loaded.core(noisy[0], noisy[1].log() / 4), network.forward_unet(noisy[0], noisy[1].log() / 4).detach(),
        rtol=1e-4, atol=1e-4,
    )  # fmt: skip


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("label", [None, 3])
def test_a_class_is_asked_for_or_none(kind, label, tmp_path, noisy):
    network = NETWORKS[kind](label_dim=5)
    loaded = load(saved(tmp_path / "edm.safetensors", network), options=LoadOptions(class_label=label))
    one_hot = torch.zeros(3, 5)
    if label is not None:
        one_hot[:, label] = 1
    with torch.no_grad():
        expected = network(*noisy, class_labels=one_hot, input_in_minus_one_one=True)
    torch.testing.assert_close(loaded.network(*noisy), expected.clamp(-1, 1), rtol=0, atol=1e-4)
    with pytest.raises(ParameterError, match="classes 0 to 4"):
        load(tmp_path / "edm.safetensors", options=LoadOptions(class_label=5))


def test_the_standard_deviation_of_the_data_is_read_from_the_header(tmp_path, noisy):
    network = NETWORKS["ddpm++"](pixel_std=0.7)
    path = saved(tmp_path / "edm.safetensors", network, metadata={"sigma_data": "0.7", "sigma_max": "40"})
    loaded = load(path)
    with torch.no_grad():
        expected = network(*noisy, input_in_minus_one_one=True)
    torch.testing.assert_close(loaded.network(*noisy), expected.clamp(-1, 1), rtol=0, atol=1e-4)
    assert (loaded.info.sigma_data, loaded.info.sigma_max) == (0.7, 40.0)


def test_other_preconditionings_and_code_are_refused(tmp_path):
    import pickle

    network = NETWORKS["ddpm++"]()
    with pytest.raises(UnsupportedNetworkError, match="preconditioning"):
        load(saved(tmp_path / "vp.safetensors", network, metadata={"precond": "VPPrecond"}))
    with pytest.raises(UnsupportedNetworkError, match="preconditioning"):
        save_file({**network.state_dict(), "u": torch.zeros(3)}, tmp_path / "iddpm.safetensors")
        load(tmp_path / "iddpm.safetensors")
    (tmp_path / "edm-cifar10.pkl").write_bytes(pickle.dumps({"ema": Unpickled()}))
    with pytest.raises(UnsafeWeightsError, match="more than tensors"):
        load(tmp_path / "edm-cifar10.pkl")


class Unpickled:
    """As EDM's persistent classes: a pickle that needs code."""


def test_incomplete_files_are_named(tmp_path):
    state = NETWORKS["ncsn++"]().state_dict()
    del state["dec.16x16_block1.conv1.weight"]
    save_file(state, tmp_path / "edm.safetensors")
    with pytest.raises(WrongShapeError, match=r"dec\.16x16_block1\.conv1\.weight is missing"):
        load(tmp_path / "edm.safetensors")
    del state["map_layer0.weight"]
    save_file(state, tmp_path / "edm.safetensors")
    with pytest.raises(WrongShapeError, match=r"map_layer0\.weight"):
        load(tmp_path / "edm.safetensors")
