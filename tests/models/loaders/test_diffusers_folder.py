import json
import shutil

import diffusers
import pytest
import torch

from models.errors import MislabelledWeightsError, TruncatedWeightsError, UnsupportedNetworkError, WrongShapeError
from models.loaders import load
from models.loaders.loaded import LoadOptions
from restore.errors import CorruptWeightsError, ParameterError
from tests.models.loaders.conftest import randomise

SMALL = dict(
    sample_size=32, block_out_channels=(32, 64), layers_per_block=1, norm_num_groups=8,
    down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
)  # fmt: skip
WEIGHTS = "diffusion_pytorch_model.safetensors"


def unet(**settings):
    return randomise(diffusers.UNet2DModel(**(SMALL | settings)))


def repository(folder, network, scheduler, **saving):
    """As google/ddpm-cifar10-32 has it: network and scheduler in one place."""
    network.save_pretrained(folder, **saving)
    scheduler.save_pretrained(folder)
    return folder


def at(scheduler, t):
    # In float32, 1 - alphas_cumprod would keep three digits at the smallest levels.
    bars = (1 - scheduler.betas.double()).cumprod(0)
    return ((1 - bars) / bars).sqrt().float()[t]


def by_diffusers(network, scheduler, x, t, sigma, labels=None):
    """x0 as a DDIM step of diffusers sees it, picture by picture."""
    answers = []
    for row, step, level in zip(x, t, sigma, strict=True):
        scaled = row[None] / (1 + level**2).sqrt()
        with torch.no_grad():
            output = network(scaled, step, class_labels=labels).sample
        ddim = diffusers.DDIMScheduler.from_config(scheduler.config, clip_sample=True, set_alpha_to_one=False)
        ddim.set_timesteps(ddim.config.num_train_timesteps)
        answers.append(ddim.step(output[:, :3], int(step), scaled).pred_original_sample)
    return torch.cat(answers)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("schedule", ["linear", "squaredcos_cap_v2"])
def test_the_denoiser_is_diffusers_own_x0(prediction, schedule, tmp_path, pictures):
    network, scheduler = unet(), diffusers.DDPMScheduler(prediction_type=prediction, beta_schedule=schedule)
    loaded = load(repository(tmp_path, network, scheduler))
    t = torch.tensor([3, 300, 700])
    sigma = at(scheduler, t)
    expected = by_diffusers(network, scheduler, pictures[0], t, sigma)
    torch.testing.assert_close(loaded.network(pictures[0], sigma), expected, rtol=0, atol=1e-4)
    assert (loaded.prediction, loaded.info.native_size, loaded.info.multiple_of) == (prediction, 32, 2)


@pytest.mark.parametrize(
    "name", ["PNDMScheduler", "DPMSolverMultistepScheduler", "EulerDiscreteScheduler", "HeunDiscreteScheduler"]
)
@pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")
def test_other_solvers_of_the_same_networks_serve(name, tmp_path, pictures):
    network, scheduler = unet(), getattr(diffusers, name)(beta_start=1e-4, beta_end=0.02)
    loaded = load(repository(tmp_path, network, scheduler))
    t = torch.tensor([3, 300, 700])
    ddpm = diffusers.DDPMScheduler()
    sigma = at(ddpm, t)
    expected = by_diffusers(network, ddpm, pictures[0], t, sigma)
    torch.testing.assert_close(loaded.network(pictures[0], sigma), expected, rtol=0, atol=1e-4)


def test_a_learned_variance_is_dropped(tmp_path, pictures):
    network, scheduler = unet(out_channels=6), diffusers.DDPMScheduler(variance_type="learned_range")
    loaded = load(repository(tmp_path, network, scheduler))
    t = torch.tensor([3, 300, 700])
    sigma = at(scheduler, t)
    scheduler = diffusers.DDPMScheduler()
    expected = by_diffusers(network, scheduler, pictures[0], t, sigma)
    torch.testing.assert_close(loaded.network(pictures[0], sigma), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("label", [0, 6, None])
def test_a_class_is_asked_for_or_averaged(label, tmp_path, pictures):
    network, scheduler = unet(num_class_embeds=7), diffusers.DDPMScheduler()
    loaded = load(repository(tmp_path, network, scheduler), options=LoadOptions(class_label=label))
    with torch.no_grad():
        network.class_embedding.weight[3] = network.class_embedding.weight.mean(0) if label is None else 9.0
        if label is None:
            network.class_embedding.weight[3] = loaded.core.class_embedding.vector[0]
    labels = torch.tensor([3 if label is None else label])
    t = torch.tensor([3, 300, 700])
    sigma = at(scheduler, t)
    expected = by_diffusers(network, scheduler, pictures[0], t, sigma, labels)
    torch.testing.assert_close(loaded.network(pictures[0], sigma), expected, rtol=0, atol=1e-4)
    if label is None:
        assert "mean of all" in " ".join(loaded.assumed)
    with pytest.raises(ParameterError, match="classes 0 to 6"):
        load(tmp_path, options=LoadOptions(class_label=7))


def test_an_edm_network(tmp_path, pictures):
    network, scheduler = unet(), diffusers.EDMEulerScheduler()
    loaded = load(repository(tmp_path, network, scheduler))
    x, sigma = pictures
    for row in range(3):
        s = sigma[row : row + 1]
        with torch.no_grad():
            output = network(scheduler.precondition_inputs(x[row : row + 1], s), scheduler.precondition_noise(s)).sample
        expected = scheduler.precondition_outputs(x[row : row + 1], output, s).clamp(-1, 1)
        answer = loaded.network(x[row : row + 1], s)
        torch.testing.assert_close(answer, expected, rtol=0, atol=1e-4)
    assert loaded.prediction == "edm" and loaded.info.sigma_max == 80.0


def test_a_consistency_model_of_diffusers(tmp_path, pictures):
    """The layout of openai/diffusers-cd_imagenet64_l2: scale and shift, residual resampling, classes."""
    network = unet(
        num_class_embeds=4, resnet_time_scale_shift="scale_shift", attention_head_dim=32, attn_norm_num_groups=8,
        down_block_types=("ResnetDownsampleBlock2D", "AttnDownBlock2D"), downsample_type="resnet",
        up_block_types=("AttnUpBlock2D", "ResnetUpsampleBlock2D"), upsample_type="resnet",
    )  # fmt: skip
    scheduler = diffusers.CMStochasticIterativeScheduler()
    pipeline = diffusers.ConsistencyModelPipeline(network, scheduler)
    pipeline.save_pretrained(tmp_path)
    loaded = load(tmp_path, options=LoadOptions(class_label=2))
    assert loaded.prediction == "consistency"
    scheduler.set_timesteps(timesteps=[30, 12])
    x = pictures[0][:1] * 5
    for t in scheduler.timesteps:
        sigma = scheduler.sigmas[scheduler.index_for_timestep(t)][None].float()
        with torch.no_grad():
            output = network(scheduler.scale_model_input(x, t), t, class_labels=torch.tensor([2])).sample
        step = scheduler.get_scalings_for_boundary_condition(sigma)
        expected = (step[1] * output + step[0] * x).clamp(-1, 1)
        torch.testing.assert_close(loaded.network(x, sigma), expected, rtol=0, atol=1e-4)
        x = scheduler.step(output, t, x, generator=torch.Generator().manual_seed(0)).prev_sample


@pytest.mark.parametrize("saving", [{"safe_serialization": False}, {"max_shard_size": "200KB"}, {"variant": "fp16"}])
def test_pickles_shards_and_variants_are_read(saving, tmp_path, pictures):
    network, scheduler = unet(), diffusers.DDPMScheduler()
    if "variant" in saving:
        network.half()
    repository(tmp_path, network, scheduler, **saving)
    assert not (tmp_path / WEIGHTS).exists()
    loaded = load(tmp_path)
    t = torch.tensor([3, 300, 700])
    sigma = at(scheduler, t)
    expected = by_diffusers(network.float(), scheduler, pictures[0], t, sigma)
    torch.testing.assert_close(loaded.network(pictures[0], sigma), expected, rtol=0, atol=1e-4)
    assert all(path.is_file() for path in loaded.files) and len(loaded.files) >= 3


def test_a_pipelines_folder_a_networks_folder_and_a_file_in_it(tmp_path, pictures):
    diffusers.DDPMPipeline(unet(), diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2")).save_pretrained(tmp_path)
    answers = [load(path).network(*pictures) for path in (tmp_path, tmp_path / "unet", tmp_path / "unet" / WEIGHTS)]
    assert torch.equal(answers[0], answers[1]) and torch.equal(answers[0], answers[2])
    shutil.rmtree(tmp_path / "scheduler")
    assert "linear" in " ".join(load(tmp_path).assumed)


def test_the_attention_names_of_old_repositories(tmp_path, pictures):
    """google/ddpm-* were saved before diffusers 0.15: query, key, value, proj_attn."""
    from safetensors.torch import load_file, save_file

    repository(tmp_path, unet(), diffusers.DDPMScheduler())
    before = load(tmp_path).network(*pictures)
    old = {}
    for name, value in load_file(tmp_path / WEIGHTS).items():
        for new_name, old_name in (("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")):
            name = name.replace(f".{new_name}.", f".{old_name}.")
        old[name] = value
    assert any("proj_attn" in name for name in old)
    save_file(old, tmp_path / WEIGHTS)
    assert torch.equal(load(tmp_path).network(*pictures), before)


def test_learned_timestep_embeddings_are_interpolated(tmp_path):
    network = unet(time_embedding_type="learned", num_train_timesteps=1000)
    core = load(repository(tmp_path, network, diffusers.DDPMScheduler())).core
    table = network.time_proj.weight.detach()
    t = torch.tensor([0.0, 10.25, 999.0])
    expected = torch.stack([table[0], 0.75 * table[10] + 0.25 * table[11], table[999]])
    torch.testing.assert_close(core.time_proj(t), expected)


def test_without_attention_any_size_will_do(tmp_path):
    network = unet(
        down_block_types=("DownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "UpBlock2D"), add_attention=False
    )
    loaded = load(repository(tmp_path, network, diffusers.DDPMScheduler()))
    assert loaded.info.native_size is None and loaded.info.multiple_of == 2
    assert loaded.network(torch.zeros(1, 3, 34, 18), torch.ones(1)).shape == (1, 3, 34, 18)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"_class_name": "UNet2DConditionModel"}, "text"),
        ({"_class_name": "AutoencoderKL"}, "AutoencoderKL"),
        ({"in_channels": 6}, "upsampler"),
        ({"in_channels": 1, "out_channels": 1}, "not RGB"),
        ({"sample_size": [32, 64]}, "square"),
        ({"class_embed_type": "timestep"}, "more than a class"),
        ({"colour": 1}, "colour"),
    ],
)
def test_other_networks_are_refused(change, message, tmp_path):
    network = unet(class_embed_type="timestep") if "class_embed_type" in change else unet()
    repository(tmp_path, network, diffusers.DDPMScheduler())
    config = json.loads((tmp_path / "config.json").read_text()) | change
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UnsupportedNetworkError, match=message):
        load(tmp_path)


def test_damaged_folders_are_typed_errors(tmp_path):
    repository(tmp_path, unet(), diffusers.DDPMScheduler())
    whole = (tmp_path / WEIGHTS).read_bytes()
    (tmp_path / WEIGHTS).write_bytes(whole[:-100])
    with pytest.raises(TruncatedWeightsError, match="ends before"):
        load(tmp_path)
    (tmp_path / WEIGHTS).write_bytes(b"<!DOCTYPE html><p>Sign in")
    with pytest.raises(MislabelledWeightsError, match="web page"):
        load(tmp_path)
    (tmp_path / WEIGHTS).write_bytes(whole)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"block_out_channels": [32, 32]}))
    with pytest.raises(WrongShapeError, match=r"is \[.*\] instead of"):
        load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config | {"block_out_channels": [32]}))
    with pytest.raises(CorruptWeightsError, match="describes no network"):
        load(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CorruptWeightsError, match=r"config\.json"):
        load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / WEIGHTS).unlink()
    with pytest.raises(CorruptWeightsError, match=f"no {WEIGHTS}"):
        load(tmp_path)


def test_weights_that_are_not_finite_are_refused(tmp_path):
    network = unet()
    network.conv_out.bias.data[1] = float("nan")
    with pytest.raises(CorruptWeightsError, match="not finite"):
        load(repository(tmp_path, network, diffusers.DDPMScheduler()))
