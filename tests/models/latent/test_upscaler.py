"""LDM-SR's and Stable Diffusion's upscaler in their genuine layouts, small and with random weights.

Random weights make garbage of the detail; what is tested is what must hold of any weights.
"""

import json
import os
import shutil

import diffusers
import pytest
import torch
from torch.nn import functional as F

from models.errors import UnsafeWeightsError, UnsupportedNetworkError, WrongShapeError
from models.latent.loading import load_upscaler
from models.latent.projection import SCALE, shrink
from models.latent.upscaler import STEPS
from restore.errors import CorruptWeightsError, ParameterError
from tests.models.latent.conftest import install


@pytest.fixture(scope="module", params=["ldm", "stable_diffusion"])
def folder(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def upscaler(folder):
    return load_upscaler(folder)


def by_diffusers(folder, small, steps, seed):
    """The pipelines' loop with diffusers' own networks and scheduler."""
    generator, ldm = torch.Generator().manual_seed(seed), (folder / "vqvae").exists()
    kind = diffusers.UNet2DModel if ldm else diffusers.UNet2DConditionModel
    unet = kind.from_pretrained(folder / "unet", use_safetensors=None if ldm else True)
    scheduler = diffusers.DDIMScheduler.from_pretrained(folder / "scheduler")
    scheduler.set_timesteps(steps)
    latent = torch.randn(1, unet.config.out_channels, *small.shape[2:], generator=generator)
    beside, extra = small, {}
    if not ldm:
        from safetensors.torch import load_file

        noise = diffusers.DDPMScheduler.from_pretrained(folder / "low_res_scheduler")
        level = torch.tensor([20])
        beside = noise.add_noise(small, torch.randn(small.shape, generator=generator), level)
        words = load_file(folder / "empty_prompt.safetensors")["prompt_embeds"]
        extra = {"encoder_hidden_states": words, "class_labels": level}
    with torch.no_grad():
        for t in scheduler.timesteps:
            output = unet(torch.cat([latent, beside], 1), t, **extra).sample
            latent = scheduler.step(output, t, latent).prev_sample
        if ldm:
            autoencoder = diffusers.VQModel.from_pretrained(folder / "vqvae")
            return autoencoder.decode(latent).sample.clamp(-1, 1)
        autoencoder = diffusers.AutoencoderKL.from_pretrained(folder / "vae")
        return autoencoder.decode(latent / autoencoder.config.scaling_factor).sample.clamp(-1, 1)


def test_the_bare_model_is_diffusers_own(upscaler, folder, small):
    given = small[:, :, :24, :24]
    ours = upscaler.upscale(given, steps=5, corrections=-1, seed=3)
    theirs = by_diffusers(folder, given, 5, 3)
    assert ours.shape == (1, 3, 96, 96)
    # A quantised latent may fall to either side of a boundary.
    assert float((ours - theirs).abs().median()) < 1e-4 and float((ours - theirs).abs().mean()) < 1e-3


@pytest.mark.parametrize("corrections", [0, 2])
def test_the_result_shrinks_to_the_picture_given(upscaler, small, corrections):
    large = upscaler.upscale(small, steps=4, corrections=corrections)
    assert large.shape == (1, 3, 144, 112) and float(large.abs().max()) <= 1
    assert float((shrink(large) - small).abs().mean()) < 1 / 255
    assert float((shrink(large) - small).abs().max()) < 4 / 255


def test_its_colours_are_those_of_the_picture_given(upscaler, small):
    bare = upscaler.upscale(small, steps=4, corrections=-1)
    large = upscaler.upscale(small, steps=4)
    wrong = (bare.mean((2, 3)) - small.mean((2, 3))).abs().max()
    assert float((large.mean((2, 3)) - small.mean((2, 3))).abs().max()) < 1 / 255 < float(wrong)
    coarse = F.avg_pool2d(large, 16) - F.avg_pool2d(small, 4)
    assert float(coarse.abs().mean()) < 4 / 255


def test_tiles_leave_no_seam(folder, small):
    upscaler = load_upscaler(folder)
    upscaler.tile, upscaler.overlap = 16, 8
    large = upscaler.upscale(F.pad(small, (0, 12, 0, 4), mode="reflect"), steps=3, corrections=1)
    steps = (large[..., 1:] - large[..., :-1]).abs().mean((0, 1, 2))
    seams = [4 * start - 1 for start in (8, 16, 24)] + [4 * (start + 8) - 1 for start in (8, 16)]
    usual = steps.median()
    assert float(steps[seams].mean()) < 1.3 * float(usual)


def test_the_same_seed_gives_the_same_picture(upscaler, small):
    first, again, other = (upscaler.upscale(small, steps=2, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_bad_arguments_and_folders(upscaler, folder, small, tmp_path):
    for wrong in ({"steps": 0}, {"steps": 2000}, {"corrections": -2}):
        with pytest.raises(ParameterError):
            upscaler.upscale(small, **wrong)
    with pytest.raises(ParameterError):
        upscaler.upscale(small[:, :1])
    with pytest.raises(UnsupportedNetworkError, match="no latent upscaler"):
        load_upscaler(tmp_path)
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    config = json.loads((copy / "unet" / "config.json").read_text())
    (copy / "unet" / "config.json").write_text(json.dumps(config | {"layers_per_block": 2}))
    with pytest.raises(WrongShapeError):
        load_upscaler(copy)
    (copy / "unet" / "config.json").write_text(json.dumps(config | {"_class_name": "Other"}))
    with pytest.raises(UnsupportedNetworkError, match="Other"):
        load_upscaler(copy)
    (copy / "unet" / "config.json").write_text("{")
    with pytest.raises(CorruptWeightsError):
        load_upscaler(copy)


def test_code_in_the_weights_is_refused(ldm, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(ldm, copy)

    class Code:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'canary'}",)

    torch.save({"a": Code()}, copy / "vqvae" / "diffusion_pytorch_model.bin")
    with pytest.raises(UnsafeWeightsError):
        load_upscaler(copy)
    assert not (tmp_path / "canary").exists()


def test_without_a_text_encoder_the_way_out_is_said(stable_diffusion, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(stable_diffusion, copy)
    (copy / "empty_prompt.safetensors").unlink()
    try:
        import transformers  # noqa: F401
    except ImportError:
        with pytest.raises(UnsupportedNetworkError, match=r"pip install transformers.*empty_prompt"):
            load_upscaler(copy)


def test_an_installed_one_is_loaded_by_name_and_is_no_denoiser(ldm, small, tmp_path, monkeypatch):
    from models.latent import load_upscaler as by_name
    from models.registry import load_denoiser

    monkeypatch.setenv("PELLUCID_PRIORS", str(tmp_path))
    install(ldm, tmp_path, "mine")
    assert by_name("mine").upscale(small, steps=1).shape == (1, 3, 144, 112)
    with pytest.raises(UnsupportedNetworkError, match="only enlarges"):
        load_denoiser("mine", device="cpu")
    (tmp_path / "mine" / "unet" / "config.json").write_text("{}")
    with pytest.raises(CorruptWeightsError, match=r"unet/config\.json"):
        by_name("mine")


def test_it_stops_between_tiles_and_tells_how_far_it_is(folder, small):
    upscaler = load_upscaler(folder).retiled(16)
    given = F.pad(small, (0, 4, 0, 0), mode="reflect")
    told = list(upscaler.enlarge(given, steps=4, seed=0))
    fractions = [t.fraction for t in told]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0 and len(told) > 40
    assert [t.step for t in told] == sorted(t.step for t in told) and told[-1].step == told[-1].steps == 4
    assert told[0].estimate is None and told[-1].estimate.shape == (1, 3, 144, 128)
    assert told[0].sigma > told[-1].sigma > 0
    halted = upscaler.enlarge(given, steps=4, seed=0)
    next(halted)
    halted.close()


def test_its_tiles_can_be_chosen_and_shrink(folder):
    upscaler = load_upscaler(folder)
    assert (upscaler.tile, upscaler.smaller().tile, upscaler.smaller().smaller().smaller()) == (64, 32, None)
    for side in (8, 33):
        with pytest.raises(ParameterError, match=str(side)):
            upscaler.retiled(side)


def test_its_facts(folder):
    upscaler = load_upscaler(folder, name="mine", digest="sha256:12")
    info = upscaler.info
    assert (info.name, info.digest, info.runtime, upscaler.scale) == ("mine", "sha256:12", "torch:fp32", 4)
    assert 0 < info.sigma_min < 0.1 and 10 < info.sigma_max < 200 and upscaler.weight_bytes > 100_000


@pytest.mark.parametrize("name", ["ldm-super-resolution-4x", "sd-x4-upscaler"])
def test_the_catalogue_tells_what_the_code_does(name):
    from models.registry import known_facts

    facts = known_facts(name)
    assert (facts.scale, facts.steps, facts.tasks) == (SCALE, STEPS, ("super-resolve",))
