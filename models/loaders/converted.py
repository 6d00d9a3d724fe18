"""Folders that `pellucid models convert` writes: config.json, scheduler_config.json and safetensors.

What was read off a checkpoint or assumed of it is written out, so that nothing is left to guess. A `UNet2DModel` stays
what it is and opens in diffusers as well.
"""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.edm_unet import EDMUNet, EDMUNetConfig
from models.errors import UnsupportedNetworkError
from models.guided_unet import GuidedUNet, GuidedUNetConfig
from models.loaders.diffusers_folder import CONFIG, SCHEDULER, STEM, find, read_config, weights_file
from models.loaders.loaded import LoadedPrior, LoadOptions
from models.loaders.parametrisation import parametrised
from models.loaders.tensors import fill, read_tensors
from restore.errors import CorruptWeightsError, OutputError, ParameterError
from restore.prior.protocol import PriorInfo

NETWORKS: dict[str, tuple[type[nn.Module], type[Any]]] = {
    "GuidedUNet": (GuidedUNet, GuidedUNetConfig),
    "EDMUNet": (EDMUNet, EDMUNetConfig),
}
WEIGHTS = f"{STEM}.safetensors"


def load(folder: Path, name: str, options: LoadOptions) -> LoadedPrior:
    """The prior in a converted folder.

    Args:
        folder: with config.json, scheduler_config.json and safetensors.
        name: of the prior.
        options: only the class may still be chosen.

    Raises:
        CorruptWeightsError: a file is missing or damaged.
        ParameterError: a class that it does not have, or an option that was settled when it was converted.
    """
    config = read_config(folder / CONFIG)
    scheduler = read_config(folder / SCHEDULER)
    kind = str(config.get("_class_name"))
    network_class, config_class = NETWORKS[kind]
    settled = options.given().keys() - {"class_label"}
    try:
        settings = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in config.items()
            if key in {f.name for f in fields(config_class)}
        }
        known = config_class(**settings)
        native, label = int(config["native_size"]), config.get("class_label")
        label = label if options.class_label is None else options.class_label
        if label is not None and not 0 <= label < known.classes:
            raise ParameterError(f"{folder} has {known.classes} classes; there is no class {label}")
        with torch.device("meta"):
            core = network_class(known, label)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        if isinstance(error, ParameterError):
            raise
        raise CorruptWeightsError(f"{folder / CONFIG} describes no network ({error}); convert it again") from error
    if settled:
        raise ParameterError(f"{', '.join(sorted(settled))} of {folder} was settled when it was converted")
    weights = weights_file(folder)
    fill(core, read_tensors(weights), weights)
    network = parametrised(core, scheduler)
    info = PriorInfo(
        name,
        sigma_min=network.sigma_min,
        sigma_max=network.sigma_max,
        multiple_of=known.multiple_of,
        native_size=native,
        receptive_field=2 * native,
        differentiable=True,
        sigma_data=float(scheduler.get("sigma_data", 0.5)),
    )
    return LoadedPrior(
        network, info, kind, sum(p.numel() for p in core.parameters()),
        str(config.get("prediction")), str(config.get("schedule")),
        (folder / CONFIG, folder / SCHEDULER, weights), (f"{kind}, converted",), (), scheduler, core,
    )  # fmt: skip


def save(loaded: LoadedPrior, folder: Path) -> None:
    """Write a prior as such a folder.

    Args:
        loaded: the prior.
        folder: created; it must be empty or not exist.

    Raises:
        OutputError: the folder holds something, or cannot be written.
        UnsupportedNetworkError: the embedded prior's own network, which has its own release.
    """
    from safetensors.torch import save_file

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"{folder} is not empty; choose a new folder")
    if loaded.family in NETWORKS:
        config = {"_class_name": loaded.family, **asdict(loaded.core.config)}  # type: ignore[call-overload]
        config |= {
            "native_size": loaded.info.native_size,
            "class_label": loaded.core.class_label,
            "prediction": loaded.prediction,
            "schedule": loaded.schedule,
        }
        tensors = loaded.core.state_dict()
    elif loaded.family == "UNet2DModel":
        places = find(loaded.files[0].parent)
        source = places[0] if places is not None else loaded.files[0]
        config = read_config(source)
        tensors = read_tensors(weights_file(source.parent))
    else:
        raise UnsupportedNetworkError(f"{loaded.info.name} ({loaded.family}) needs no conversion, or has none")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        (folder / SCHEDULER).write_text(json.dumps(loaded.scheduler, indent=2) + "\n", encoding="utf-8")
        save_file(_storable(tensors), folder / WEIGHTS)
    except OSError as error:
        raise OutputError(f"cannot write {folder} ({error.strerror or error})") from error


def _storable(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous and apart from each other, as the format demands."""
    return {name: value.detach().contiguous().clone() for name, value in tensors.items()}
