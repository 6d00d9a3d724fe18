from __future__ import annotations

import shutil

import pytest
import torch

from models.denoiser import network_info
from models.export.graph import to_onnx
from models.loaders import load
from models.runtime import cache
from models.unet import DenoisingUNet


@pytest.fixture(autouse=True)
def private_cache(tmp_path, monkeypatch):
    """Nothing of the user's own folder is read or written."""
    monkeypatch.setenv("PELLUCID_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def tiny_network(seed=0):
    torch.manual_seed(seed)
    network = DenoisingUNet(channels=(8, 12), blocks=(1, 1), middle=1, embedding=16)
    torch.nn.init.normal_(network.tail.weight, std=0.1)
    for name, weight in network.named_parameters():
        if ".film." in name:
            torch.nn.init.normal_(weight, std=0.3)
    return network.eval().requires_grad_(False)


@pytest.fixture
def tiny():
    """The embedded prior's kind of network, with weights that do something everywhere, and its facts."""
    network = tiny_network()
    return network, network_info(network, "tiny")


@pytest.fixture(scope="session")
def tiny_graph():
    """The tiny network's ONNX graph: making one takes seconds."""
    network = tiny_network()
    return to_onnx(network, network_info(network, "tiny"))


@pytest.fixture(scope="session")
def _filled(tiny_graph, tmp_path_factory):
    folder = tmp_path_factory.mktemp("filled")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PELLUCID_CACHE", str(folder))
        cache.store_graph(cache.fingerprint(tiny_network()), "fp32", tiny_graph.SerializeToString(), {})
    return folder


@pytest.fixture
def filled_cache(_filled, private_cache):
    """The private folder, the tiny network's graph in it."""
    shutil.copytree(_filled, private_cache)
    return private_cache


@pytest.fixture(scope="session")
def attending(tmp_path_factory):
    """A small UNet2DModel with attention, which knows one size, and its facts."""
    import diffusers

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("attending")
    unet = diffusers.UNet2DModel(
        sample_size=16, block_out_channels=(32, 32), layers_per_block=1, norm_num_groups=8,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    unet.save_pretrained(folder)
    diffusers.DDPMScheduler().save_pretrained(folder)
    loaded = load(folder, "attending")
    return loaded.network, loaded.info
