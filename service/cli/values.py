"""What options accept: "auto" or a number, durations, kernels, masks."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from torch import Tensor

_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?")


class AutoNumber(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4 only
    """ "auto" or a number in a range."""

    name = "auto or number"

    def __init__(self, kind: type[int] | type[float], low: float, high: float) -> None:
        self.kind, self.low, self.high = kind, low, high

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        return f"auto|{self.low:g}..{self.high:g}"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "auto":
            return value
        try:
            number = self.kind(value)
        except ValueError:
            self.fail(f'{value!r} is neither "auto" nor a number', param, ctx)
        if not self.low <= number <= self.high:
            self.fail(f"{value} is not between {self.low:g} and {self.high:g}", param, ctx)
        return number


class Duration(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4 only
    """Seconds, from 2h, 90m, 1h30m, 45s or plain seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, int | float):
            return float(value)
        match = _DURATION.fullmatch(value.strip().lower())
        if not match or not any(match.groups()):
            self.fail(f"{value!r} is no duration; write 2h, 90m, 1h30m or 45s", param, ctx)
        hours, minutes, seconds = (float(part or 0) for part in match.groups())
        return hours * 3600.0 + minutes * 60.0 + seconds


class Numbers(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4 only
    """Whole numbers separated by commas."""

    name = "n,n,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        try:
            numbers = tuple(int(part) for part in value.split(","))
        except ValueError:
            self.fail(f"{value!r} is no list of whole numbers such as 96,192,320", param, ctx)
        if min(numbers) < 1:
            self.fail(f"{value!r} holds a number below 1", param, ctx)
        return numbers


def is_path(prior: str) -> bool:
    """Whether `--prior` is the path of a folder and no name: it has a separator."""
    return os.sep in prior or "/" in prior


#: Blurs that have a formula, and what their numbers mean.
KERNELS = {"gaussian": "SIGMA", "defocus": "RADIUS", "motion": "LENGTH:ANGLE"}


def read_kernel(text: str) -> Tensor:
    """A point spread function [k, k]: gaussian:SIGMA, defocus:RADIUS, motion:LENGTH:ANGLE (pixels, degrees), or a file.

    A picture's values count as they are; `.npy` holds the values themselves.

    Raises:
        click.BadParameter: no readable file.
        RestoreError: the kernel makes no sense.
    """
    from restore.degradations.kernels import as_kernel

    if text.partition(":")[0] in KERNELS and not Path(text).exists():
        return as_kernel(text)
    return as_kernel(_plane(Path(text), "--kernel"))


def read_mask(path: str) -> Tensor:
    """[H, W], 1 where the file is brighter than half its maximum (non-zero, for `.npy`), else 0.

    Half the maximum, since masks come as 0 and 255, as 0 and 1, and with JPEG's ringing.

    Raises:
        click.BadParameter: no such file, or no array of two dimensions in it.
        RestoreError: not a picture.
    """
    from restore.tasks.masks import as_mask, bright

    plane = _plane(Path(path), "--mask")
    return as_mask(plane) if path.lower().endswith(".npy") else bright(plane)


def _plane(path: Path, option: str) -> Tensor:
    """A file's values [H, W] float32: an `.npy` array's own, a picture's mean over the channels in [0, 1]."""
    if not path.is_file():
        raise click.BadParameter(f"no such file: {path}", param_hint=option)
    import numpy as np
    import torch

    from restore.images import decode

    if path.suffix.lower() != ".npy":
        return decode(path).image[0].mean(dim=0) / 2.0 + 0.5
    try:
        array = np.load(path, allow_pickle=False)
        plane = np.squeeze(array).astype(np.float32)
    except (OSError, ValueError, EOFError, TypeError) as error:
        raise click.BadParameter(f"{path} is no readable .npy array ({error})", param_hint=option) from error
    if plane.ndim != 2:
        raise click.BadParameter(f"{path} has shape {array.shape}; [height, width] is taken", param_hint=option)
    return torch.from_numpy(plane)
