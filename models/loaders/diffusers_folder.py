"""Folders of diffusers: a `UNet2DModel` with its scheduler's configuration."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.errors import UnsupportedNetworkError
from models.loaders.loaded import LoadedPrior, LoadOptions
from models.loaders.parametrisation import Preconditioned, parametrised
from models.loaders.tensors import fill, read_tensors
from restore.errors import CorruptWeightsError, ParameterError
from restore.prior.protocol import PriorInfo

CONFIG, SCHEDULER = "config.json", "scheduler_config.json"
STEM = "diffusion_pytorch_model"
#: In the order of preference; half-precision variants serve where there is nothing else.
WEIGHTS = tuple(
    f"{STEM}{variant}{ending}"
    for variant in ("", ".fp16")
    for ending in (".safetensors", ".safetensors.index.json", ".bin", ".bin.index.json")
)
DEFAULT_SCHEDULER = {"_class_name": "DDPMScheduler"}


class ClassVector(nn.Module):
    """Stands for a class embedding: the same vector, whatever label it is given."""

    vector: Tensor

    def __init__(self, vector: Tensor) -> None:
        super().__init__()
        self.register_buffer("vector", vector)

    def forward(self, labels: Tensor) -> Tensor:
        return self.vector.expand(labels.shape[0], -1)


class InterpolatedEmbedding(nn.Module):
    """Stands for a table of learned timestep embeddings: linear between two of its rows."""

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.table = nn.Parameter(table, requires_grad=False)

    def forward(self, t: Tensor) -> Tensor:
        low = t.floor().clamp(0, self.table.shape[0] - 2)
        left, right = self.table[low.long()], self.table[low.long() + 1]
        return torch.lerp(left, right, (t - low)[:, None].clamp(0.0, 1.0))


class DiffusersUNet(nn.Module):
    """(x [N, 3, H, W], t [N]) -> [N, 3 or 6, H, W] of a `UNet2DModel`, asked for one class if it knows classes."""

    def __init__(self, unet: nn.Module, conditional: bool) -> None:
        super().__init__()
        self.unet, self.conditional = unet, conditional

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        labels = torch.zeros_like(t, dtype=torch.long) if self.conditional else None
        output: Tensor = self.unet(x, t, class_labels=labels, return_dict=False)[0]
        return output


def find(folder: Path) -> tuple[Path, Path | None] | None:
    """(config.json of the network, scheduler_config.json) of a pipeline's, a repository's or a network's folder."""
    for unet in (folder / "unet" / CONFIG, folder / CONFIG):
        if unet.is_file():
            around = (folder / "scheduler" / SCHEDULER, folder / SCHEDULER, folder.parent / "scheduler" / SCHEDULER)
            return unet, next((path for path in around if path.is_file()), None)
    return None


def read_config(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        CorruptWeightsError: it is missing or none.
    """
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CorruptWeightsError(f"{path} cannot be used ({error}); fetch it again") from error
    if not isinstance(config, dict):
        raise CorruptWeightsError(f"{path} is no configuration: a JSON object is needed; fetch it again")
    return config


def weights_file(folder: Path) -> Path:
    """The file of weights in a network's folder, safetensors before pickles.

    Raises:
        CorruptWeightsError: there is none.
    """
    for name in WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    raise CorruptWeightsError(f"{folder} has a {CONFIG} but no {WEIGHTS[0]}; fetch it")


def load(folder: Path, name: str, options: LoadOptions) -> LoadedPrior:
    """The prior in a folder.

    Args:
        folder: of a pipeline (with unet/ and scheduler/), of a repository that has all in one place, or of a network.
        name: of the prior.
        options: what the folder does not say; `native_size` and `class_label` are used here.

    Raises:
        CorruptWeightsError: a file is missing or damaged; see also `read_tensors` and `fill`.
        UnsupportedNetworkError: another network, or one that needs more than a picture.
        ParameterError: a class that it does not have.
    """
    places = find(folder)
    if places is None:
        raise CorruptWeightsError(f"{folder} has no {CONFIG}: it is no folder of diffusers")
    config_path, scheduler_path = places
    config = read_config(config_path)
    scheduler = read_config(scheduler_path) if scheduler_path else dict(DEFAULT_SCHEDULER)
    _check(config, config_path)
    weights = weights_file(config_path.parent)
    tensors = read_tensors(weights)
    unet = _empty(config, config_path)
    fill(unet, renamed(tensors), weights)
    parameters = sum(p.numel() for p in unet.parameters())
    conditional = unet.class_embedding is not None
    if conditional:
        unet.class_embedding = ClassVector(_class_vector(unet, options.class_label, config_path))
    elif options.class_label is not None:
        raise ParameterError(f"{config_path} has no classes, not {options.class_label}")
    if isinstance(unet.time_proj, nn.Embedding):
        unet.time_proj = InterpolatedEmbedding(unet.time_proj.weight.detach())
    network = parametrised(DiffusersUNet(unet, conditional), scheduler)
    native = options.native_size or _side(config, config_path)
    attends = any(type(part).__name__ == "Attention" for part in unet.modules())
    multiple = 2 ** (len(config["block_out_channels"]) - 1)
    info = PriorInfo(
        name,
        sigma_min=network.sigma_min,
        sigma_max=network.sigma_max,
        multiple_of=multiple,
        native_size=native if attends else None,
        receptive_field=2 * native if native else 64 * multiple,
        differentiable=True,
        sigma_data=network.sigma_data if isinstance(network, Preconditioned) else 0.5,
    )
    consistency = scheduler.get("_class_name") == "CMStochasticIterativeScheduler"
    prediction = (
        ("consistency" if consistency else "edm") if isinstance(network, Preconditioned) else network.prediction
    )
    steps = scheduler.get("num_train_timesteps", 1000)
    schedule = (
        "continuous noise levels"
        if isinstance(network, Preconditioned)
        else f"{scheduler.get('beta_schedule', 'linear')}, {steps} timesteps"
    )
    found = (
        f"UNet2DModel of {', '.join(map(str, config['block_out_channels']))} channels, "
        f"{'pictures of ' + str(native) + ' pixels' if native else 'pictures of any size'}",
        f"{scheduler.get('_class_name')}, {prediction} prediction, {schedule}",
        "attention" if attends else "no attention: pictures of any size",
    )
    assumed = []
    if scheduler_path is None:
        assumed.append(f"no {SCHEDULER}: DDPM's own, linear schedule, epsilon")
    if conditional and options.class_label is None:
        assumed.append("no class: the mean of all classes' embeddings")
    files = tuple(path for path in (config_path, scheduler_path, *_parts(weights)) if path is not None)
    return LoadedPrior(
        network, info, "UNet2DModel", parameters, prediction, schedule, files, found, tuple(assumed), scheduler, unet
    )


def _parts(weights: Path) -> list[Path]:
    """The file, and what it is the index of."""
    if not weights.name.endswith(".index.json"):
        return [weights]
    return [weights, *(weights.parent / part for part in sorted(set(read_config(weights)["weight_map"].values())))]


def _check(config: dict[str, Any], path: Path) -> None:
    kind = config.get("_class_name")
    if kind == "UNet2DConditionModel":
        raise UnsupportedNetworkError(f"{path} is a UNet2DConditionModel: it is conditioned on text and mostly latent")
    if kind not in ("UNet2DModel", None):
        raise UnsupportedNetworkError(f"{path} describes a {kind}; of diffusers' networks, UNet2DModel is known")
    channels, out = config.get("in_channels", 3), config.get("out_channels", 3)
    if channels != 3 or out not in (3, 6):
        why = "an upsampler that also wants a small picture, or latent" if channels in (4, 6) else "not RGB pictures"
        raise UnsupportedNetworkError(f"{path} takes {channels} channels and gives {out}: {why}")
    if config.get("center_input_sample"):
        raise UnsupportedNetworkError(f"{path} asks for pictures in [0, 1] (center_input_sample), which is not known")


def _empty(config: dict[str, Any], path: Path) -> Any:
    """The network without weights."""
    from diffusers import UNet2DModel

    accepted = inspect.signature(UNet2DModel.__init__).parameters.keys() - {"self"}
    settings = {key: value for key, value in config.items() if not key.startswith("_")}
    unknown = sorted(settings.keys() - accepted)
    if unknown:
        raise UnsupportedNetworkError(f"{path} has settings that this diffusers does not know: {', '.join(unknown)}")
    try:
        with torch.device("meta"):
            return UNet2DModel(**settings)
    except (TypeError, ValueError, KeyError, RuntimeError, ZeroDivisionError) as error:
        raise CorruptWeightsError(f"{path} describes no network ({error}); fetch it again") from error


def renamed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Attention as diffusers names it since 0.15."""
    names = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}
    renamed = {}
    for name, value in tensors.items():
        for old, new in names.items():
            if ".attentions." in name:
                name = name.replace(old, new)
        linear = ".attentions." in name and ".to_" in name and name.endswith(".weight") and value.ndim == 4
        renamed[name] = value[:, :, 0, 0] if linear else value
    return renamed


def _side(config: dict[str, Any], path: Path) -> int | None:
    size = config.get("sample_size")
    if isinstance(size, list | tuple):
        if len(size) != 2 or size[0] != size[1]:
            raise UnsupportedNetworkError(f"{path} is a network of {size} pixels; only square ones are known")
        size = size[0]
    return int(size) if size else None


def _class_vector(unet: Any, label: int | None, path: Path) -> Tensor:
    """[1, width] the embedding of a class, or of no class: the mean of all."""
    table = getattr(unet.class_embedding, "weight", None)
    if unet.config.class_embed_type is not None or table is None:
        raise UnsupportedNetworkError(
            f"{path} is conditioned on more than a class ({unet.config.class_embed_type}), which is not known"
        )
    if label is None:
        mean: Tensor = table.detach().mean(0, keepdim=True)
        return mean
    if not 0 <= label < table.shape[0]:
        raise ParameterError(f"{path} has classes 0 to {table.shape[0] - 1}, not {label}")
    row: Tensor = table.detach()[label : label + 1].clone()
    return row
