"""What every loader gives, and what it can be told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from torch import nn

from restore.errors import ParameterError
from restore.prior.protocol import PriorInfo


@dataclass(frozen=True)
class LoadOptions:
    """What a checkpoint may not say of itself. None leaves it to the loader, which tells what it took and why.

    Attributes:
        native_size: side of the pictures it was trained on.
        class_label: the class to ask a class-conditional network for; None for no class.
        heads: attention heads of an OpenAI network.
        head_channels: or the channels of one head.
        attention_order: how its qkv rows are stored: "legacy", head by head, or "new", all queries first.
        noise_schedule: "linear" or "cosine" of an OpenAI network.
        timesteps: how many of them.
        rescale_timesteps: whether it sees timesteps scaled to 1000.
        kind: "diffusion", "edm" or "consistency": the preconditioning of an OpenAI network.
        sigma_data: of a preconditioned network.
        multiple_of: what height and width of an ONNX file's pictures are divisible by.
        sigma_min: smallest noise level that an ONNX file's network was trained on, range [-1, 1].
        sigma_max: largest one.
    """

    native_size: int | None = None
    class_label: int | None = None
    heads: int | None = None
    head_channels: int | None = None
    attention_order: Literal["legacy", "new"] | None = None
    noise_schedule: Literal["linear", "cosine"] | None = None
    timesteps: int | None = None
    rescale_timesteps: bool | None = None
    kind: Literal["diffusion", "edm", "consistency"] | None = None
    sigma_data: float | None = None
    multiple_of: int | None = None
    sigma_min: float | None = None
    sigma_max: float | None = None

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> LoadOptions:
        """From a registry entry or a command line.

        Raises:
            ParameterError: an option that does not exist, or a value of another type.
        """
        types: dict[str, tuple[type, ...]] = {
            "native_size": (int,), "class_label": (int,), "heads": (int,), "head_channels": (int,),
            "attention_order": (str,), "noise_schedule": (str,), "timesteps": (int,), "rescale_timesteps": (bool,),
            "kind": (str,), "sigma_data": (float, int), "multiple_of": (int,), "sigma_min": (float, int),
            "sigma_max": (float, int),
        }  # fmt: skip
        choices = {
            "attention_order": ("legacy", "new"),
            "noise_schedule": ("linear", "cosine"),
            "kind": ("diffusion", "edm", "consistency"),
        }
        for key, value in values.items():
            if key not in types:
                raise ParameterError(f"no option {key!r} for a checkpoint; there are {', '.join(types)}")
            wrong = not isinstance(value, types[key]) or (isinstance(value, bool) and bool not in types[key])
            if value is not None and (wrong or value not in choices.get(key, (value,))):
                expected = " or ".join(choices.get(key, [kind.__name__ for kind in types[key]]))
                raise ParameterError(f"option {key} of a checkpoint must be {expected}, not {value!r}")
        return cls(**values)

    def given(self) -> dict[str, Any]:
        """Those that are not left to the loader."""
        return {f.name: value for f in fields(self) if (value := getattr(self, f.name)) is not None}


@dataclass(frozen=True)
class LoadedPrior:
    """A prior as a module, ready for `models.runtime.build`.

    Attributes:
        network: `forward(x [N, 3, H, W] in [-1, 1] plus noise, sigma [N])` -> the denoised pictures; float32, on the
            CPU, frozen.
        info: its facts; no digest, no error table.
        family: class of the raw network, such as "UNet2DModel".
        parameters: number of weights.
        prediction: "epsilon", "v_prediction", "sample", "edm" or "consistency".
        schedule: in words, such as "linear, 1000 timesteps".
        files: those that were read.
        found: what was read off the checkpoint, in sentences.
        assumed: what it does not say, what was taken instead and why, in sentences.
        scheduler: the scheduler's configuration in diffusers' words.
        core: the raw network inside.
    """

    network: nn.Module
    info: PriorInfo
    family: str
    parameters: int
    prediction: str
    schedule: str
    files: tuple[Path, ...]
    found: tuple[str, ...]
    assumed: tuple[str, ...]
    scheduler: dict[str, Any]
    core: nn.Module
