"""State dicts of EDM's networks (Karras et al. 2022): SongUNet (DDPM++, NCSN++) and DhariwalUNet (ADM).

The architecture is read from names and shapes. The published `.pkl` files hold Python code and are refused; export the
state dict of their "ema" network as safetensors where you trust them (docs/priors.md shows how).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.edm_unet import EDMUNet, EDMUNetConfig
from models.errors import UnsupportedNetworkError, WrongShapeError
from models.loaders.loaded import LoadedPrior, LoadOptions
from models.loaders.parametrisation import EDM_SIGMA_DATA, EDM_SIGMA_MAX, EDM_SIGMA_MIN, parametrised
from models.loaders.tensors import fill, without_prefix
from restore.errors import ParameterError
from restore.prior.protocol import PriorInfo


def matches(tensors: Mapping[str, Tensor]) -> bool:
    """Whether tensors have this layout's names."""
    return any(re.match(r"(model\.)?enc\.\d+x\d+_conv\.weight$", name) for name in tensors)


def load(
    tensors: dict[str, Tensor], source: Path, name: str, options: LoadOptions, metadata: Mapping[str, str] | None = None
) -> LoadedPrior:
    """The prior in a state dict, with EDM's preconditioning.

    Args:
        tensors: of the checkpoint, those of `EDMPrecond` or of the network inside.
        source: file they come from, for messages.
        name: of the prior.
        options: what the checkpoint does not say.
        metadata: of a safetensors header; "sigma_data", "sigma_min", "sigma_max" and "precond" are heeded.

    Raises:
        UnsupportedNetworkError: another preconditioning, or not RGB.
        WrongShapeError: tensors that do not fit together.
        ParameterError: an option that this network does not have.
    """
    metadata = metadata or {}
    if "u" in tensors or metadata.get("precond", "EDMPrecond") != "EDMPrecond":
        raise UnsupportedNetworkError(f"{source} has another preconditioning than EDM's, which is not known")
    tensors = {key: value for key, value in tensors.items() if not key.startswith(("logvar", "sigma_data"))}
    tensors = without_prefix(tensors, "model.")
    config = architecture(tensors, source, options.head_channels or 64)
    if options.class_label is not None and not 0 <= options.class_label < config.classes:
        has = f"classes 0 to {config.classes - 1}" if config.classes else "no classes"
        raise ParameterError(f"{source} has {has}, not {options.class_label}")
    if options.native_size not in (None, config.resolution):
        raise ParameterError(f"{source} is a network of {config.resolution} pixels, not {options.native_size}")
    try:
        numbers = {key: float(metadata[key]) for key in ("sigma_data", "sigma_min", "sigma_max") if key in metadata}
    except ValueError as error:
        raise UnsupportedNetworkError(f"{source} has metadata that is no number ({error})") from error
    scheduler: dict[str, Any] = {
        "_class_name": "EDMEulerScheduler",
        "prediction_type": "epsilon",
        "sigma_data": EDM_SIGMA_DATA,
        "sigma_min": max(numbers.pop("sigma_min", EDM_SIGMA_MIN), EDM_SIGMA_MIN),
        "sigma_max": min(numbers.pop("sigma_max", EDM_SIGMA_MAX), EDM_SIGMA_MAX),
    } | numbers
    if options.sigma_data is not None:
        scheduler["sigma_data"] = options.sigma_data
    with torch.device("meta"):
        core = EDMUNet(config, options.class_label)
    # Filters are rebuilt from their taps, and augmentation labels are training's.
    unused = ("resample_filter", "map_augment.weight")
    fill(core, {key: value for key, value in tensors.items() if not key.endswith(unused)}, source)
    network = parametrised(core, scheduler)
    info = PriorInfo(
        name,
        sigma_min=network.sigma_min,
        sigma_max=network.sigma_max,
        multiple_of=config.multiple_of,
        native_size=config.resolution,
        receptive_field=2 * config.resolution,
        differentiable=True,
        sigma_data=scheduler["sigma_data"],
    )
    style = "DhariwalUNet" if config.style == "dhariwal" else "SongUNet"
    found = (
        f"{style} of {config.resolution} pixels, {', '.join(map(str, config.widths))} channels, {config.blocks} blocks",
        f"attention at {', '.join(map(str, config.attention)) or 'the lowest resolution'}",
        f"{config.classes} classes" if config.classes else "unconditional",
    )
    assumed = [f"EDM's preconditioning with sigma_data {scheduler['sigma_data']:g}"]
    if config.style == "dhariwal":
        assumed.append(f"heads of {config.head_channels} channels, {'as asked' if options.head_channels else 'as EDM'}")
    if config.classes and options.class_label is None:
        assumed.append("no class, as in training with dropped labels")
    return LoadedPrior(
        network, info, "EDMUNet", sum(p.numel() for p in core.parameters()), "edm", "continuous noise levels",
        (source,), found, tuple(assumed), scheduler, core,
    )  # fmt: skip


def architecture(tensors: Mapping[str, Tensor], source: Path, head_channels: int = 64) -> EDMUNetConfig:
    """The architecture that names and shapes tell.

    Raises:
        UnsupportedNetworkError: not a network of RGB pictures.
        WrongShapeError: tensors that do not fit together.
    """
    sides = sorted({int(found[1]) for name in tensors if (found := re.match(r"enc\.(\d+)x\1_", name))}, reverse=True)
    top = sides[0]
    try:
        head = tensors[f"enc.{top}x{top}_conv.weight"]
        if head.shape[1] != 3:
            raise UnsupportedNetworkError(f"{source} takes {head.shape[1]} channels: no network of RGB pictures")
        if sides != [top >> level for level in range(len(sides))]:
            raise WrongShapeError(f"{source} has levels of {sides} pixels, which are no powers of two apart")
        blocks = sum(1 for name in tensors if re.match(rf"enc\.{top}x{top}_block\d+\.norm0\.weight$", name))
        song = "out_conv.weight" not in tensors
        embedding, noise_channels = tensors["map_layer0.weight"].shape
        taps: tuple[float, ...] = (1.0, 1.0)
        for name, value in tensors.items():
            if name.endswith("resample_filter"):
                taps = tuple(round(float(v), 6) for v in value[0, 0].sum(0) / value[0, 0].sum(0).min())
                break
        aux = {name.rpartition("aux_")[2].partition(".")[0] for name in tensors if "aux_" in name}
        return EDMUNetConfig(
            "song" if song else "dhariwal",
            top,
            tuple(tensors[f"enc.{side}x{side}_block0.conv1.weight"].shape[0] for side in sides),
            blocks,
            tuple(side for side in sides if f"enc.{side}x{side}_block0.qkv.weight" in tensors),
            head.shape[0],
            noise_channels,
            embedding,
            fourier="map_noise.freqs" in tensors,
            classes=tensors["map_label.weight"].shape[1] if "map_label.weight" in tensors else 0,
            encoder="residual" if "residual" in aux else "skip" if "skip" in aux else "standard",
            decoder="skip" if sum(name.endswith("aux_norm.weight") for name in tensors) > 1 else "standard",
            resample_filter=taps,
            head_channels=head_channels,
        )
    except (KeyError, IndexError) as error:
        raise WrongShapeError(
            f"{source} has the names of an EDM network, but lacks {error}; it is incomplete"
        ) from error
