import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from models.errors import UnsupportedNetworkError
from models.registry import (
    WEIGHTS_FILE,
    choose_device,
    list_priors,
    load_denoiser,
    load_folder,
    load_network,
    prior_facts,
    verify,
)
from models.release import main, release
from models.unet import DenoisingUNet
from restore.errors import CorruptWeightsError, RuntimeUnavailableError, UnknownPriorError
from restore.prior import Denoiser, TiledDenoiser


def pictures(count=2, size=40):
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (count, size // 8, size // 8, 3), np.uint8)
    return [p.repeat(8, 0).repeat(8, 1) for p in coarse]


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A training run's folder with a tiny network, and what `release` made of it."""
    folder = tmp_path_factory.mktemp("run")
    torch.manual_seed(0)
    network = DenoisingUNet(channels=(8, 12), blocks=(1, 1), middle=1, embedding=16)
    torch.nn.init.normal_(network.tail.weight, std=0.02)
    network.save_pretrained(folder / "ema")
    (folder / "log.csv").write_text("step,seconds,rate\n10,5,1.0\n20,7200,0.0\n")
    (folder / "config.json").write_text('{"batch": 32}')
    release(
        folder / "ema", folder / "weights" / "photo", photographs=pictures(), sigmas=(0.01, 0.1, 1.0), size=32,
        data="Two patterns.", weights_licence="CC0-1.0", precision="fp32",
    )  # fmt: skip
    return folder


@pytest.fixture
def weights(original, tmp_path):
    shutil.copytree(original / "weights", tmp_path / "weights")
    return tmp_path / "weights"


def test_a_release_is_complete_and_loads_on_any_size(weights):
    (facts,) = list_priors(weights)
    assert facts == prior_facts(None, weights) == verify("photo", weights)
    assert facts.licence == {"code": "Apache-2.0", "weights": "CC0-1.0"}
    assert facts.training == {"steps": 20, "seconds": 7200, "settings": {"batch": 32}}
    prior = load_denoiser("photo", device="cpu", weights=weights)
    assert isinstance(prior, Denoiser) and isinstance(prior, TiledDenoiser)
    assert prior.info.digest == facts.digest and prior.info.name == "photo"
    assert prior.info.error_table is not None and prior.info.error_table.sigma == (0.01, 0.1, 1.0)
    assert prior(torch.zeros(1, 3, 33, 7), torch.ones(1)).shape == (1, 3, 33, 7)
    assert not list(weights.glob(".release*"))


def test_released_weights_are_the_originals_in_half_the_space(original):
    before, after = load_network(original / "ema"), load_network(original / "weights" / "photo")
    for (name, a), b in zip(before.state_dict().items(), after.state_dict().values(), strict=True):
        assert b.dtype == torch.float32, name
        torch.testing.assert_close(a, b, rtol=2**-10, atol=1e-7)
    sizes = [(original / f / WEIGHTS_FILE).stat().st_size for f in ("ema", "weights/photo")]
    assert sizes[1] < 0.65 * sizes[0]


def test_the_card_states_data_licence_scores_and_limits(weights):
    card = (weights / "photo" / "MODEL_CARD.md").read_text()
    for part in ("Two patterns.", "CC0-1.0", "20 steps in 2.0 hours", "| PSNR | ", "## Limits"):
        assert part in card
    assert "{" not in card


def test_releasing_again_replaces_the_old_one(original, weights):
    photo = weights / "photo"
    old = verify("photo", weights)
    (photo / "stale.txt").write_text("old")
    new = release(original / "ema", photo, photographs=pictures(1), sigmas=(0.1, 1.0), size=32, training={})
    assert new.digest == old.digest and new.training == {}
    assert not (photo / "stale.txt").exists() and not list(weights.glob(".release*"))


def test_weights_that_float16_cannot_hold_are_not_released(tmp_path):
    network = DenoisingUNet(channels=(4,), blocks=(1,), middle=0, embedding=8)
    network.tail.bias.data.fill_(1e6)
    network.save_pretrained(tmp_path / "ema")
    with pytest.raises(CorruptWeightsError, match=r"tail\.bias"):
        release(tmp_path / "ema", tmp_path / "weights" / "photo", photographs=pictures(1), size=32)
    assert not (tmp_path / "weights").exists()


def test_weights_that_blow_up_are_not_released(tmp_path):
    network = DenoisingUNet(channels=(4,), blocks=(1,), middle=0, embedding=8)
    network.tail.bias.data.fill_(1e4)
    network.save_pretrained(tmp_path / "ema")
    with pytest.raises(CorruptWeightsError, match=r"blows up: told of noise 10\b.* 60 of 60; train on"):
        release(tmp_path / "ema", tmp_path / "weights" / "photo", photographs=pictures(1), size=32)
    assert not (tmp_path / "weights" / "photo").exists()


def test_the_command_line_releases_from_photographs(original, tmp_path, capsys):
    from PIL import Image

    (tmp_path / "photographs").mkdir()
    Image.fromarray(pictures(1, 256)[0]).save(tmp_path / "photographs" / "a.png")
    out = tmp_path / "weights" / "mine"
    main(["--no-int8", str(original / "ema"), "--photographs", str(tmp_path / "photographs"), "--out", str(out)])
    assert verify("mine", tmp_path / "weights").digest in capsys.readouterr().out


def test_an_unknown_name_lists_the_known_ones(weights):
    for name in ("huge", "../photo", "photo.json", ""):
        with pytest.raises(UnknownPriorError, match="known priors: photo"):
            load_denoiser(name, weights=weights)


def test_without_any_release_the_default_is_unknown(tmp_path):
    assert list_priors(tmp_path) == ()
    with pytest.raises(UnknownPriorError, match="'photo'; known priors: none"):
        load_denoiser(weights=tmp_path)


@pytest.mark.parametrize("file", ["config.json", WEIGHTS_FILE, "error_table.json"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_a_damaged_file_is_named_with_a_remedy(weights, file, damage):
    path = weights / "photo" / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "remove":
        path.unlink()
    else:
        path.write_bytes(content if damage == "flip" else content[:-7])
    with pytest.raises(CorruptWeightsError, match=rf"{file}.*reinstall") as caught:
        load_denoiser(weights=weights)
    assert "photo" in str(caught.value)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"name": "photo", "tasks": []}', "\xff"])
def test_a_damaged_description_is_named(weights, content):
    (weights / "photo.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(CorruptWeightsError, match=r"photo\.json"):
        verify("photo", weights)


def test_a_description_without_digests_is_refused(weights):
    path = weights / "photo.json"
    facts = json.loads(path.read_text())
    del facts["files"][WEIGHTS_FILE]
    path.write_text(json.dumps(facts))
    with pytest.raises(CorruptWeightsError, match="safetensors"):
        load_denoiser(weights=weights)


@pytest.mark.parametrize(
    "change", [{"channels": [8, 16]}, {"channels": 3}, {"_class_name": "Other"}, {"colour": 1}, {"patch": "x"}]
)
def test_a_config_that_does_not_fit_is_a_typed_error(weights, change):
    path = weights / "photo" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises((CorruptWeightsError, UnsupportedNetworkError)):
        load_folder(weights / "photo", device="cpu")


def test_a_pickle_is_not_opened(weights):
    folder = weights / "photo"
    torch.save(load_network(folder).state_dict(), folder / WEIGHTS_FILE)
    with pytest.raises(CorruptWeightsError, match="safetensors"):
        load_network(folder)


def test_a_run_in_training_loads_without_being_registered(original):
    prior = load_folder(original / "ema", device="cpu", precision="fp32")
    assert prior.info.name == "ema" and prior.info.error_table is None and prior.info.digest == ""


def test_runtimes_and_devices_that_are_not_there_are_typed_errors(weights):
    with pytest.raises(RuntimeUnavailableError, match="'abacus'"):
        load_denoiser(runtime="abacus", weights=weights)
    for device in ("abacus", "meta", "cuda:99"):
        with pytest.raises(RuntimeUnavailableError, match=device):
            load_denoiser(device=device, weights=weights)
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_listing_priors_does_not_import_torch():
    code = "import sys; from models.registry import list_priors; list_priors(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_package_offers_the_denoiser_and_loads_torch_only_for_it():
    code = (
        "import sys, models\n"
        "assert 'torch' not in sys.modules\n"
        "denoiser = models.load_denoiser(runtime='torch', device='cpu')\n"
        "import torch\n"
        "x = torch.zeros(1, 3, 24, 24)\n"
        "print(float(denoiser(x, torch.tensor([0.1])).abs().max()))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(run.stdout) < 0.1
