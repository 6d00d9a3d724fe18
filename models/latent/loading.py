"""Folders of diffusers with a latent upscaler: LDMSuperResolutionPipeline and StableDiffusionUpscalePipeline."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.errors import UnsupportedNetworkError
from models.latent.projection import SCALE
from models.latent.upscaler import NOISE_LEVEL, LatentUpscaler
from models.loaders.diffusers_folder import CONFIG, SCHEDULER, read_config, renamed, weights_file
from models.loaders.tensors import fill, read_tensors
from restore.errors import CorruptWeightsError

#: The embedding of the empty prompt, where the text encoder cannot be run: tensor "prompt_embeds" [1, 77, width].
EMPTY_PROMPT = "empty_prompt.safetensors"


def load_upscaler(folder: Path, device: str = "cpu") -> LatentUpscaler:
    """The latent upscaler in a folder, as diffusers saves it or the hub has it.

    Args:
        folder: with unet/, scheduler/ and vqvae/ (LDM-SR), or unet/, scheduler/, low_res_scheduler/, vae/ and
            text_encoder/ (Stable Diffusion x4 upscaler).
        device: where it runs.

    Raises:
        CorruptWeightsError: a file is missing or damaged; the kinds are in `models.errors`.
        UnsafeWeightsError: it holds code.
        UnsupportedNetworkError: another pipeline, or one that needs a package that is not installed.
    """
    if (folder / "vqvae").is_dir():
        return _ldm(folder, device)
    if (folder / "vae").is_dir() and (folder / "low_res_scheduler").is_dir():
        return _stable_diffusion(folder, device)
    raise UnsupportedNetworkError(f"{folder} is no latent upscaler: it has no vqvae, and no vae with low_res_scheduler")


def _ldm(folder: Path, device: str) -> LatentUpscaler:
    unet, autoencoder = _part(folder / "unet", "UNet2DModel", device), _part(folder / "vqvae", "VQModel", device)
    channels = int(autoencoder.config.latent_channels)
    _check(folder, unet, channels, autoencoder)

    def network(x: Tensor, t: Tensor) -> Tensor:
        output: Tensor = unet(x, t, return_dict=False)[0]
        return output

    return LatentUpscaler(
        network, lambda x: autoencoder.encode(x).latents, lambda z: autoencoder.decode(z).sample,
        _scheduler(folder / "scheduler"), channels, _multiple(unet),
    )  # fmt: skip


def _stable_diffusion(folder: Path, device: str) -> LatentUpscaler:
    unet = _part(folder / "unet", "UNet2DConditionModel", device)
    autoencoder = _part(folder / "vae", "AutoencoderKL", device)
    channels, scale = int(autoencoder.config.latent_channels), float(autoencoder.config.scaling_factor)
    _check(folder, unet, channels, autoencoder)
    prompt = _empty_prompt(folder).to(device)

    def network(x: Tensor, t: Tensor) -> Tensor:
        level = torch.full((len(x),), NOISE_LEVEL, device=x.device, dtype=torch.long)
        words = prompt.expand(len(x), -1, -1)
        output: Tensor = unet(x, t, encoder_hidden_states=words, class_labels=level, return_dict=False)[0]
        return output

    return LatentUpscaler(
        network, lambda x: scale * autoencoder.encode(x).latent_dist.mode(),
        lambda z: autoencoder.decode(z / scale).sample, _scheduler(folder / "scheduler"), channels, _multiple(unet),
        _scheduler(folder / "low_res_scheduler"),
    )  # fmt: skip


def _part(folder: Path, kind: str, device: str) -> Any:
    """A network of diffusers with its weights, none of its files run."""
    import diffusers

    path = folder / CONFIG
    config = read_config(path)
    if config.get("_class_name") != kind:
        raise UnsupportedNetworkError(f"{path} describes a {config.get('_class_name')}; a {kind} is needed")
    known: Any = getattr(diffusers, kind)
    accepted = inspect.signature(known.__init__).parameters.keys() - {"self"}
    settings = {key: value for key, value in config.items() if key in accepted}
    try:
        with torch.device("meta"):
            network = known(**settings)
    except (TypeError, ValueError, KeyError, RuntimeError, ZeroDivisionError) as error:
        raise CorruptWeightsError(f"{path} describes no network ({error}); fetch it again") from error
    weights = weights_file(folder)
    fill(network, renamed(read_tensors(weights)), weights)
    return network.to(device)


def _scheduler(folder: Path) -> dict[str, Any]:
    return read_config(folder / SCHEDULER)


def _check(folder: Path, unet: Any, channels: int, autoencoder: Any) -> None:
    factor = 2 ** (len(autoencoder.config.block_out_channels) - 1)
    if unet.config.in_channels != channels + 3 or unet.config.out_channels != channels or factor != SCALE:
        raise UnsupportedNetworkError(
            f"{folder} denoises {unet.config.in_channels} channels of latents {factor} times smaller; an upscaler by "
            f"{SCALE} with the small picture beside the latent is needed"
        )


def _multiple(unet: Any) -> int:
    return int(2 ** (len(unet.config.block_out_channels) - 1))


def _empty_prompt(folder: Path) -> Tensor:
    """[1, tokens, width] what the text encoder makes of no words."""
    stored = folder / EMPTY_PROMPT
    if stored.is_file():
        tensors = read_tensors(stored)
        if "prompt_embeds" not in tensors or tensors["prompt_embeds"].ndim != 3:
            raise CorruptWeightsError(f"{stored} holds no tensor prompt_embeds [1, tokens, width]")
        return tensors["prompt_embeds"].float()
    try:
        from transformers import CLIPTextModel, CLIPTokenizer  # type: ignore[import-not-found, unused-ignore]
    except ImportError as error:
        raise UnsupportedNetworkError(
            f"{folder} needs its text encoder: pip install transformers, or put the empty prompt's embedding into "
            f"{stored}"
        ) from error
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
    encoder = CLIPTextModel.from_pretrained(folder / "text_encoder", local_files_only=True, use_safetensors=True)
    tokens = tokenizer("", padding="max_length", max_length=tokenizer.model_max_length, return_tensors="pt")
    with torch.no_grad():
        embedding: Tensor = encoder(tokens.input_ids)[0]
    return embedding.float()
