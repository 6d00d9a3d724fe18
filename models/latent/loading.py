"""Folders of diffusers with a latent upscaler: LDMSuperResolutionPipeline and StableDiffusionUpscalePipeline."""

from __future__ import annotations

import inspect
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.errors import UnsupportedNetworkError
from models.latent.projection import SCALE
from models.latent.upscaler import NOISE_LEVEL, LatentUpscaler
from models.loaders.diffusers_folder import CONFIG, SCHEDULER, read_config, renamed, weights_file
from models.loaders.schedules import alphas_cumprod
from models.loaders.tensors import fill, read_tensors
from restore.errors import CorruptWeightsError
from restore.prior.protocol import PriorInfo

#: The embedding of the empty prompt, where the text encoder cannot be run: tensor "prompt_embeds" [1, 77, width].
EMPTY_PROMPT = "empty_prompt.safetensors"


def is_latent(path: Path) -> bool:
    """Whether a folder is laid out as a latent model's: with an autoencoder beside the network."""
    return any((path / part).is_dir() for part in ("vqvae", "vae"))


def load_upscaler(folder: Path, device: str = "cpu", *, name: str | None = None, digest: str = "") -> LatentUpscaler:
    """The latent upscaler in a folder, as diffusers saves it or the hub has it.

    Args:
        folder: with unet/, scheduler/ and vqvae/ (LDM-SR), or unet/, scheduler/, low_res_scheduler/, vae/ and
            text_encoder/ (Stable Diffusion x4 upscaler).
        device: where it runs.
        name: reported; the folder's when None.
        digest: reported.

    Raises:
        CorruptWeightsError: a file is missing or damaged; the kinds are in `models.errors`.
        UnsafeWeightsError: it holds code.
        UnsupportedNetworkError: another pipeline, or one that needs a package that is not installed.
    """
    if (folder / "vqvae").is_dir():
        upscaler, parts = _ldm(folder, device)
    elif (folder / "vae").is_dir() and (folder / "low_res_scheduler").is_dir():
        upscaler, parts = _stable_diffusion(folder, device)
    else:
        raise UnsupportedNetworkError(
            f"{folder} is no latent upscaler: it has no vqvae, and no vae with low_res_scheduler"
        )
    bars = alphas_cumprod(upscaler.scheduler)
    levels = ((1 - bars) / bars).sqrt()
    info = PriorInfo(
        folder.name if name is None else name, sigma_min=float(levels[0]), sigma_max=float(levels[-1]),
        multiple_of=upscaler.multiple_of, digest=digest, runtime="torch:fp32",
    )  # fmt: skip
    weights = sum(value.numel() * value.element_size() for part in parts for value in part.parameters())
    return replace(upscaler, info=info, device=device, weight_bytes=weights)


def _ldm(folder: Path, device: str) -> tuple[LatentUpscaler, tuple[nn.Module, ...]]:
    unet, autoencoder = _part(folder / "unet", "UNet2DModel", device), _part(folder / "vqvae", "VQModel", device)
    channels = int(autoencoder.config.latent_channels)
    _check(folder, unet, channels, autoencoder)

    def network(x: Tensor, t: Tensor) -> Tensor:
        output: Tensor = unet(x, t, return_dict=False)[0]
        return output

    upscaler = LatentUpscaler(
        network, lambda x: autoencoder.encode(x).latents, lambda z: autoencoder.decode(z).sample,
        _scheduler(folder / "scheduler"), channels, _multiple(unet),
    )  # fmt: skip
    return upscaler, (unet, autoencoder)


def _stable_diffusion(folder: Path, device: str) -> tuple[LatentUpscaler, tuple[nn.Module, ...]]:
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

    upscaler = LatentUpscaler(
        network, lambda x: scale * autoencoder.encode(x).latent_dist.mode(),
        lambda z: autoencoder.decode(z / scale).sample, _scheduler(folder / "scheduler"), channels, _multiple(unet),
        _scheduler(folder / "low_res_scheduler"),
    )  # fmt: skip
    return upscaler, (unet, autoencoder)


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
    try:
        tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
        encoder = CLIPTextModel.from_pretrained(folder / "text_encoder", local_files_only=True, use_safetensors=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise CorruptWeightsError(f"the text encoder in {folder} cannot be read ({error}); fetch it again") from error
    tokens = tokenizer("", padding="max_length", max_length=tokenizer.model_max_length, return_tensors="pt")
    with torch.no_grad():
        embedding: Tensor = encoder(tokens.input_ids)[0]
    return embedding.float()
