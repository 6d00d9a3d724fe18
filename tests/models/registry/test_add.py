"""A checkpoint of one's own becomes a prior: inspected, tested, measured, registered, loaded."""

import json
import shutil

import pytest
import torch

from models import self_test
from models.errors import SelfTestError, UnsafeWeightsError
from models.guided_unet import GuidedUNet, GuidedUNetConfig
from models.loaders.loaded import LoadOptions
from models.loaders.parametrisation import parametrised
from models.registry import check_files, file_sha256, load_denoiser, prior_facts
from models.registry.add import add
from models.registry.measuring import measure, measure_folder
from models.registry.pull import describe, remove
from models.self_test import photographs
from restore.errors import CorruptWeightsError, ParameterError, PriorError, UnknownPriorError
from tests.models.loaders.openai_layout import state_dict


def trained(schedule, steps=40):
    """A small network of OpenAI's layout that has learned to denoise a little: five seconds of training."""
    torch.manual_seed(0)
    config = GuidedUNetConfig(32, (1.0,), 1, (False,), out_channels=6, heads=1, head_channels=None)
    core = GuidedUNet(config)
    known = parametrised(core, {"_class_name": "DDPMScheduler", "beta_schedule": schedule})
    optimizer = torch.optim.Adam(core.parameters(), 3e-3)
    pictures = torch.stack(photographs())
    for _ in range(steps):
        top, left = (int(torch.randint(pictures.shape[-1] - 16, (1,))) for _ in range(2))
        x = torch.cat([pictures[:, :, top : top + 16, left : left + 16]] * 3)
        sigma = (torch.rand(len(x)) * 4 - 3.2).exp()
        noise, s = torch.randn_like(x), sigma.view(-1, 1, 1, 1)
        predicted = core((x + s * noise) / (1 + s**2).sqrt(), known.timesteps(sigma))[:, :3]
        loss = (predicted - noise).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    # As guided-diffusion stores attention: one-dimensional convolutions.
    flat = ("qkv.weight", "proj_out.weight")
    return {name: value[..., 0] if name.endswith(flat) else value for name, value in core.state_dict().items()}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(self_test, "SIDE", 64)


@pytest.fixture(scope="module")
def denoising(tmp_path_factory):
    path = tmp_path_factory.mktemp("mine") / "mine.pt"
    torch.save(trained("linear"), path)
    return path


OPTIONS = LoadOptions(heads=1, noise_schedule="linear", timesteps=1000, attention_order="new")


def test_from_a_pt_file_to_a_prior(denoising, private):
    stages = []
    added = add(denoising, "mine", options=OPTIONS, licence="CC-BY-4.0", levels=4, device="cpu", on_stage=stages.append)
    assert stages == [
        f"reading {denoising}", "testing it on noisy photographs", "measuring its error at each noise level"
    ]  # fmt: skip
    assert set(added.test.gains) == {10, 25, 50, 100} and added.test.passed
    assert any("32 channels" in sentence for sentence in added.found)
    facts = prior_facts("mine")
    assert facts == added.facts and facts.folder == private / "mine"
    assert facts.licence["weights"] == "CC-BY-4.0" and facts.source == {"path": str(denoising)}
    assert facts.files["mine.pt"]["sha256"] == file_sha256(denoising) and facts.prediction == "epsilon"
    assert facts.options == OPTIONS.given() and any("as asked" in sentence for sentence in facts.assumed)
    assert facts.scores["self-test"]["25"] == added.test.gains[25]
    check_files(facts)
    prior = load_denoiser("mine", device="cpu")
    table = prior.info.error_table
    assert prior.info.digest == facts.digest and table is not None and len(table.sigma) == 4
    assert list(table.mse) == sorted(table.mse)
    assert prior(torch.zeros(1, 3, 30, 17), torch.ones(1)).shape == (1, 3, 30, 17)
    assert {path.name for path in private.iterdir()} == {"mine", "mine.json", ".mine.lock"}
    remove("mine")
    with pytest.raises(UnknownPriorError):
        load_denoiser("mine", device="cpu")


def test_what_does_not_denoise_is_not_registered(tmp_path, private):
    torch.save(state_dict(), tmp_path / "noise.pt")
    with pytest.raises(SelfTestError, match=r"does not denoise.*dB at 10.*damaged") as caught:
        add(tmp_path / "noise.pt", "noise", options=LoadOptions(heads=1, noise_schedule="linear"), device="cpu")
    assert caught.value.code == "self_test"
    assert not list(private.glob("*noise*"))


def test_the_reading_that_denoises_best_is_taken(denoising, private, monkeypatch):
    """Nothing in the file tells the schedule; the convention would be the linear one."""

    def measured(denoiser, pictures, info, seed=0):
        cosine = info.sigma_max > 1000
        return self_test.SelfTest({25: 3.0 if cosine else 1.0})

    monkeypatch.setattr(self_test, "self_test", measured)
    stages = []
    options = LoadOptions(heads=1, attention_order="new")
    added = add(denoising, "cosine", options=options, levels=2, device="cpu", on_stage=stages.append)
    assert added.facts.schedule == "cosine, 1000 timesteps" and stages[-2].startswith("taken with cosine schedule")
    assert added.facts.options["noise_schedule"] == "cosine" and added.test.gains == {25: 3.0}
    assert load_denoiser("cosine", device="cpu").info.sigma_max > 1000


def test_a_folder_keeps_its_form(private, tmp_path):
    """The embedded prior's own format, as training leaves it."""
    from models.registry import WEIGHTS

    shutil.copytree(WEIGHTS / "photo", tmp_path / "run")
    added = add(tmp_path / "run", "again", levels=2, device="cpu")
    assert added.facts.family == "DenoisingUNet" and min(added.test.gains.values()) > 5
    assert set(added.facts.files) == {"config.json", "diffusion_pytorch_model.safetensors", "error_table.json"}
    assert load_denoiser("again", device="cpu").info.native_size is None


def test_names_that_are_taken_or_none(denoising, private):
    for name, words in (
        ("photo", "there already"), ("openai-256-uncond", "published prior"), ("../mine", "no name"),
        ("Mine", "lower-case"), ("", "no name"), ("default", "published"),
    ):  # fmt: skip
        with pytest.raises(ParameterError, match=words):
            add(denoising, name)
    assert not private.exists()


def test_every_bad_file_has_its_own_error_and_leaves_nothing(denoising, private, tmp_path):
    whole = denoising.read_bytes()
    (tmp_path / "short.pt").write_bytes(whole[:-500])
    (tmp_path / "renamed.safetensors").write_bytes(whole)
    state = torch.load(denoising, weights_only=True)
    torch.save({**state, "out.2.weight": torch.zeros(6, 31, 3, 3)}, tmp_path / "shape.pt")
    torch.save(torch.nn.Linear(1, 1), tmp_path / "code.pt")
    (tmp_path / "garbage.pt").write_bytes(bytes(1000))
    codes = {}
    for path in sorted(tmp_path.iterdir()):
        if path.is_file():
            with pytest.raises((CorruptWeightsError, UnsafeWeightsError)) as caught:
                add(path, "bad", device="cpu")
            codes[path.name] = caught.value.code
    assert codes == {
        "short.pt": "truncated_weights", "renamed.safetensors": "mislabelled_weights", "shape.pt": "wrong_shape",
        "code.pt": "unsafe_weights", "garbage.pt": "corrupt_weights",
    }  # fmt: skip
    assert not private.exists() or not list(private.iterdir())


def test_a_damaged_registration_is_named(denoising, private):
    add(denoising, "mine", options=OPTIONS, levels=2, device="cpu")
    (private / "mine" / "error_table.json").write_text("{}")
    with pytest.raises(CorruptWeightsError, match=r"error_table\.json"):
        load_denoiser("mine", device="cpu")
    description = private / "mine.json"
    description.write_text(json.dumps(json.loads(description.read_text()) | {"options": {"heads": "many"}}))
    (private / "mine" / "error_table.json").write_text("{}")
    with pytest.raises(CorruptWeightsError):
        load_denoiser("mine", device="cpu")


def test_a_pulled_prior_is_measured_afterwards(denoising, private, monkeypatch):
    add(denoising, "mine", options=OPTIONS, levels=2, device="cpu")
    facts = prior_facts("mine")
    (private / "mine" / "error_table.json").unlink()
    del facts.files["error_table.json"]
    describe(facts)
    assert load_denoiser("mine", device="cpu").info.error_table is None
    measured, test = measure("mine", levels=3, device="cpu")
    assert test.passed and measured.scores["self-test"] and measured == prior_facts("mine")
    table = load_denoiser("mine", device="cpu").info.error_table
    assert table is not None and len(table.sigma) == 3
    measure("mine", levels=2, device="cpu")
    check_files(prior_facts("mine"))
    with pytest.raises(PriorError, match="came with the package"):
        measure("photo")
    monkeypatch.setattr(self_test, "self_test", lambda *_: self_test.SelfTest({25: -1.0}))
    with pytest.raises(SelfTestError):
        measure("mine", device="cpu")


def test_who_uses_one_that_was_not_measured_is_told_what_was_assumed(denoising, tmp_path):
    from models.loaders import converted, load
    from models.registry import load_folder
    from restore import Restorer

    converted.save(load(denoising, "mine", OPTIONS), tmp_path / "mine")
    picture = (photographs()[0][None, :, :24, :24] + 1) / 2

    def warnings(task, **given):
        restorer = Restorer(load_folder(tmp_path / "mine", device="cpu", runtime="torch"))
        return restorer.restore(picture, task, **given).report["warnings"]

    (said,) = warnings("super-resolve", scale=2, noise=0, steps=2, samples=2)
    assert "nobody has measured the error of the prior 'mine'" in said and "white Gaussian" in said
    assert warnings("denoise", noise=20) == []  # does not weigh the prior against the picture
    calls = []
    measure_folder(tmp_path / "mine", device="cpu", on_call=lambda *told: calls.append(told))
    assert warnings("super-resolve", scale=2, noise=0, steps=2) == []
    done, totals = zip(*calls, strict=True)
    assert done == tuple(range(totals[0])) and set(totals) == {(4 + self_test.TABLE_LEVELS) * 3}
