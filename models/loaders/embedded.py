"""Folders of the embedded prior's network, as training and release write them."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import TYPE_CHECKING

from restore.errors import CorruptWeightsError

if TYPE_CHECKING:
    from models.unet import DenoisingUNet

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "diffusion_pytorch_model.safetensors"
REMEDY = "reinstall pellucid, or restore the file from its repository"


def load_network(folder: Path) -> DenoisingUNet:
    """The network saved in `folder` (config.json and safetensors, any float type), in float32 on the CPU.

    Raises:
        CorruptWeightsError: a file is missing or damaged, or the two do not fit together.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from models.unet import DenoisingUNet

    accepted = inspect.signature(DenoisingUNet.__init__).parameters.keys() - {"self"}
    path = folder / CONFIG_FILE
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        if config.get("_class_name") != DenoisingUNet.__name__:
            raise ValueError(f"it describes a {config.get('_class_name')}, not a {DenoisingUNet.__name__}")
        settings = {key: value for key, value in config.items() if not key.startswith("_")}
        if settings.keys() - accepted:
            raise ValueError(f"unknown settings {sorted(settings.keys() - accepted)}")
        network: DenoisingUNet = DenoisingUNet(**settings)
    except (OSError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise CorruptWeightsError(f"{path} cannot be used ({error}); {REMEDY}") from error
    path = folder / WEIGHTS_FILE
    try:
        tensors = {key: value.to(torch.float32) for key, value in load_file(path).items()}
        network.load_state_dict(tensors)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise CorruptWeightsError(f"{path} cannot be used ({error}); {REMEDY}") from error
    return network
