"""The parameters of every task, as form fields, query parameters or JSON members of the same names.

Ranges are those of `restore.tasks.parameters.Parameters`; the tests compare the two.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from service.schemas.base import Given


def _whole(value: Any) -> Any:
    """7.0 is an integer to JSON, which knows numbers only (JSON Schema, validation, 6.1.1)."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = BeforeValidator(_whole)

Noise = Annotated[float, Field(ge=0.0, le=255.0)] | Literal["auto"]
Quality = Annotated[int, Field(ge=1, le=100), Whole] | Literal["auto"]
Exposure = Annotated[float, Field(ge=-2.0, le=8.0)] | Literal["auto"]
Format = Literal["png", "jpeg", "webp", "tiff", "avif"]


class Common(Given):
    """What every task takes."""

    fidelity: float | None = Field(None, ge=0.0, le=1.0)
    """1: least distortion, a posterior mean; 0: a posterior sample. By default 1, or 0 with several samples."""
    steps: Annotated[int | None, Field(ge=1, le=1000), Whole] = None
    """Denoiser calls; the task's own number by default."""
    samples: Annotated[int, Field(ge=1, le=64), Whole] = 1
    """Posterior samples; their mean is the result, their spread the uncertainty map."""
    strength: float = Field(1.0, ge=0.0, le=1.0)
    """Blend of the restored (1) with the given picture (0)."""
    seed: Annotated[int, Field(ge=0, le=2**63 - 1), Whole] = 0
    """Of every random number: the same seed gives the same picture."""
    prior: str | None = Field(None, min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")
    """Name of a prior (GET /v1/models); the server's default otherwise."""
    priority: Literal["interactive", "batch"] = "interactive"
    """Interactive jobs are started first."""
    output_format: Format | None = None
    """Of the result; by default as Accept says, else the given picture's."""
    output_quality: Annotated[int | None, Field(ge=1, le=100), Whole] = None
    """Of JPEG, WebP and AVIF results."""
    keep_gps: bool = False
    """Keep the place in the metadata; it is removed otherwise."""
    previews: bool = False
    """Send preview events: small JPEG pictures of the current estimate."""
    inline: bool = False
    """Put the result into the JSON answer, in base64."""
    webhook: str | None = Field(None, min_length=9, max_length=2048, pattern=r"^https://")
    """URL told when the job has ended (Standard Webhooks)."""


class Denoise(Common):
    """Remove noise."""

    task: Literal["denoise"] = "denoise"
    noise: Noise = "auto"
    """Standard deviation of the noise on the 0-255 scale, or "auto" to estimate it."""


class SuperResolve(Common):
    """Enlarge."""

    task: Literal["super-resolve"] = "super-resolve"
    scale: Annotated[Literal[2, 3, 4, 8], Whole] = 4
    """Enlargement."""
    noise: Noise = "auto"
    """Standard deviation of the noise on the 0-255 scale, or "auto" to estimate it."""


class LowLightEnhance(Common):
    """Brighten a dark picture and remove the noise that comes to light."""

    task: Literal["low-light-enhance"] = "low-light-enhance"
    exposure: Exposure = "auto"
    """Brightening in stops, or "auto" to estimate it."""
    noise: Noise = "auto"
    """Standard deviation of the noise on the 0-255 scale, or "auto" to estimate it."""


class Deblur(Common):
    """Undo a known blur; needs `kernel`."""

    task: Literal["deblur"] = "deblur"
    noise: Noise = "auto"
    """Standard deviation of the noise on the 0-255 scale, or "auto" to estimate it."""


class Inpaint(Common):
    """Fill in what `mask` marks."""

    task: Literal["inpaint"] = "inpaint"
    noise: Noise = "auto"
    """Standard deviation of the noise on the 0-255 scale; "auto" means none."""


class Colorize(Common):
    """Give a grey picture colours."""

    task: Literal["colorize"] = "colorize"
    noise: Noise = "auto"
    """Standard deviation of the noise on the 0-255 scale; "auto" means none."""


class Dejpeg(Common):
    """Remove the artefacts of JPEG compression."""

    task: Literal["dejpeg"] = "dejpeg"
    quality: Quality = "auto"
    """JPEG quality to undo, or "auto": from the file's own tables, or estimated."""


class Auto(Common):
    """Find out what is wrong with the picture, and undo that."""

    task: Literal["auto"] = "auto"
    noise: Noise = "auto"
    """Standard deviation of the noise on the 0-255 scale, or "auto" to estimate it."""
    exposure: Exposure = "auto"
    """Brightening in stops, should the picture be dark, or "auto" to estimate it."""
    quality: Quality = "auto"
    """JPEG quality to undo, should artefacts show, or "auto" to estimate it."""


AnyParameters = Auto | Denoise | SuperResolve | LowLightEnhance | Deblur | Inpaint | Colorize | Dejpeg

PARAMETERS: dict[str, type[AnyParameters]] = {
    "auto": Auto,
    "denoise": Denoise,
    "super-resolve": SuperResolve,
    "low-light-enhance": LowLightEnhance,
    "deblur": Deblur,
    "inpaint": Inpaint,
    "colorize": Colorize,
    "dejpeg": Dejpeg,
}

#: Fields that say how a job is handled; the others go to the restoration.
HANDLING = frozenset(Common.model_fields) - {"fidelity", "steps", "samples", "strength", "seed"} | {"task"}

#: The picture besides `image` that a task needs.
EXTRA_ROLE = {"inpaint": "mask", "deblur": "kernel"}
