"""Small latent upscalers with random weights, saved by diffusers in the layout of the hub's repositories."""

import json
import shutil

import diffusers
import pytest
import torch
from safetensors.torch import save_file

from models.registry import file_sha256, known_facts
from models.self_test import photographs
from tests.models.loaders.conftest import randomise

AUTOENCODER = {
    "block_out_channels": (16, 16, 16), "down_block_types": ("DownEncoderBlock2D",) * 3, "norm_num_groups": 8,
    "up_block_types": ("UpDecoderBlock2D",) * 3, "layers_per_block": 1,
}  # fmt: skip


def install(source, private, name, published="ldm-super-resolution-4x"):
    """Put a latent upscaler into a folder of priors as `models pull` does; its description's path."""
    shutil.copytree(source, private / name)
    files = {
        path.relative_to(private / name).as_posix(): {"sha256": file_sha256(path), "bytes": path.stat().st_size}
        for path in (private / name).rglob("*") if path.is_file()
    }  # fmt: skip
    description = private / f"{name}.json"
    description.write_text(json.dumps(known_facts(published).record() | {"name": name, "files": files}))
    return description


@pytest.fixture(scope="session")
def ldm(tmp_path_factory):
    """LDM-SR: a UNet2DModel beside a VQModel, scaled linear betas."""
    folder = tmp_path_factory.mktemp("ldm")
    unet = randomise(
        diffusers.UNet2DModel(
            sample_size=64, in_channels=6, out_channels=3, block_out_channels=(16, 32), layers_per_block=1,
            down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
            norm_num_groups=8, attention_head_dim=8,
        ), gain=0.7
    )  # fmt: skip
    autoencoder = randomise(diffusers.VQModel(latent_channels=3, num_vq_embeddings=64, **AUTOENCODER), 1)
    scheduler = diffusers.DDIMScheduler(
        beta_start=0.0015, beta_end=0.0155, beta_schedule="scaled_linear", clip_sample=False
    )
    unet.save_pretrained(folder / "unet", safe_serialization=False)
    autoencoder.save_pretrained(folder / "vqvae", safe_serialization=False)
    scheduler.save_pretrained(folder / "scheduler")
    return folder


@pytest.fixture(scope="session")
def stable_diffusion(tmp_path_factory):
    """The x4 upscaler: a UNet2DConditionModel of 7 channels noise levels as classes, an AutoencoderKL of factor 4."""
    folder = tmp_path_factory.mktemp("sd")
    unet = randomise(
        diffusers.UNet2DConditionModel(
            sample_size=128, in_channels=7, out_channels=4, block_out_channels=(16, 32), layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), cross_attention_dim=12, attention_head_dim=2,
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), num_class_embeds=1000, norm_num_groups=8,
            only_cross_attention=(True, False), use_linear_projection=True,
        ), gain=0.7
    )  # fmt: skip
    autoencoder = randomise(diffusers.AutoencoderKL(latent_channels=4, scaling_factor=0.08333, **AUTOENCODER), 1)
    scheduler = diffusers.DDIMScheduler(
        beta_start=0.0001, beta_end=0.02, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False,
        prediction_type="v_prediction", steps_offset=1,
    )  # fmt: skip
    noise = diffusers.DDPMScheduler(beta_start=0.0001, beta_end=0.02, beta_schedule="scaled_linear")
    for part, name in ((unet, "unet"), (autoencoder, "vae"), (scheduler, "scheduler"), (noise, "low_res_scheduler")):
        part.save_pretrained(folder / name)
    words = torch.randn(1, 7, 12, generator=torch.Generator().manual_seed(2))
    save_file({"prompt_embeds": words}, folder / "empty_prompt.safetensors")
    return folder


@pytest.fixture(scope="session")
def small():
    """[1, 3, 36, 28]: a small photograph, of a size that no network's multiple divides."""
    return torch.nn.functional.interpolate(
        photographs()[0][None, :, 8:244, 30:214], (36, 28), mode="bicubic", antialias=True
    ).clamp(-0.9, 0.9)
