"""Networks that are saved and loaded in the layout of diffusers' folders, without importing diffusers.

A folder holds `config.json` (the arguments of the constructor, beside `_class_name`) and
`diffusion_pytorch_model.safetensors`. Importing diffusers for its `ModelMixin` and `ConfigMixin` took three of the five
processor seconds that restoring a small picture from a cold start took.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, cast

import torch
from torch import nn

from restore.errors import CorruptWeightsError

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "diffusion_pytorch_model.safetensors"

P = ParamSpec("P")
N = TypeVar("N", bound="Pretrained")


class Pretrained(nn.Module):
    """A network that remembers the arguments it was made with, in `config`; see `remember_config`."""

    config: SimpleNamespace

    def save_pretrained(self, folder: str | PathLike[str]) -> None:
        """Write config.json and the weights, making the folder where it is missing.

        Raises:
            OSError: it cannot be written.
        """
        from safetensors.torch import save_file

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        described = {"_class_name": type(self).__name__, **vars(self.config)}
        (folder / CONFIG_FILE).write_text(json.dumps(described, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        weights = {name: value.detach().cpu().contiguous() for name, value in self.state_dict().items()}
        save_file(weights, folder / WEIGHTS_FILE, metadata={"format": "pt"})

    @classmethod
    def from_pretrained(cls, folder: str | PathLike[str]) -> Self:
        """The network saved in a folder, in float32 on the CPU, ready to answer.

        Raises:
            OSError: a file is missing.
            ValueError: the config describes another class, or has settings that this one lacks.
            RuntimeError: the weights do not fit the config.
            safetensors.SafetensorError: the file of weights is damaged.
        """
        from safetensors.torch import load_file

        folder = Path(folder)
        network = cls(**cls.settings(folder / CONFIG_FILE))
        network.load_state_dict({k: v.to(torch.float32) for k, v in load_file(folder / WEIGHTS_FILE).items()})
        return network.eval()

    @classmethod
    def settings(cls, path: Path) -> dict[str, Any]:
        """The constructor's arguments in a config.json.

        Raises:
            OSError: there is no such file.
            ValueError: it is no JSON object, describes another class, or has settings that this one lacks.
        """
        config = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(config, dict) or config.get("_class_name") != cls.__name__:
            found = config.get("_class_name") if isinstance(config, dict) else type(config).__name__
            raise ValueError(f"it describes a {found}, not a {cls.__name__}")
        given = {key: value for key, value in config.items() if not key.startswith("_")}
        unknown = given.keys() - inspect.signature(cls.__init__).parameters.keys()
        if unknown:
            raise ValueError(f"unknown settings {sorted(unknown)}")
        return given


def remember_config(init: Callable[Concatenate[N, P], None]) -> Callable[Concatenate[N, P], None]:
    """Decorates the constructor of a `Pretrained` network: its arguments, defaults included, become `config`."""
    signature = inspect.signature(init)

    @functools.wraps(init)
    def wrapped(self: N, *args: P.args, **kwargs: P.kwargs) -> None:
        init(self, *args, **kwargs)
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        given = list(bound.arguments.items())[1:]
        self.config = SimpleNamespace(**dict(given))

    return cast(Callable[Concatenate[N, P], None], wrapped)


def file_digest(path: Path) -> str:
    """ "sha256:..." of a file."""
    return "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()


def read_verified(network: type[N], folder: Path, what: str) -> tuple[N, str]:
    """The network of a folder whose `digest.json` records its weights' sha256, ready to answer, and that digest.

    Args:
        network: its class.
        folder: what `models.small_training.write` wrote.
        what: to call it in messages.

    Raises:
        CorruptWeightsError: files are missing, or the weights are not the recorded ones.
    """
    weights = folder / WEIGHTS_FILE
    try:
        expected = json.loads((folder / "digest.json").read_text())["sha256"]
        digest = file_digest(weights)
    except (OSError, ValueError, KeyError) as error:
        raise CorruptWeightsError(f"the {what} in {folder} cannot be read ({error}); reinstall it") from error
    if digest != expected:
        raise CorruptWeightsError(f"{weights} is not the registered file ({digest}, expected {expected}); reinstall it")
    return network.from_pretrained(folder), digest
