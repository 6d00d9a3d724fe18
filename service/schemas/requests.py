"""JSON bodies: the parameters of a task, and its pictures."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Discriminator, Tag

from service.schemas.base import Given
from service.schemas.parameters import (
    Auto,
    Colorize,
    Deblur,
    Dejpeg,
    Denoise,
    Inpaint,
    LowLightEnhance,
    SuperResolve,
)
from service.schemas.sources import Form, Rows, Source


class WithImage(Given):
    """A body with a picture."""

    image: Source
    """The picture to restore."""


class AutoRequest(WithImage, Auto):
    """Find out what is wrong with a picture, and undo that."""


class DenoiseRequest(WithImage, Denoise):
    """Remove noise."""


class SuperResolveRequest(WithImage, SuperResolve):
    """Enlarge."""


class LowLightEnhanceRequest(WithImage, LowLightEnhance):
    """Brighten a dark picture."""


class DeblurRequest(WithImage, Deblur):
    """Undo a known blur."""

    kernel: Form | Rows
    """The blur: "gaussian:SIGMA", "defocus:RADIUS", "motion:LENGTH:ANGLE" (pixels, degrees), or the rows of a matrix
    with odd sides."""


class InpaintRequest(WithImage, Inpaint):
    """Fill in what a mask marks."""

    mask: Source
    """A picture of the same size, bright where the other is to be filled in."""


class ColorizeRequest(WithImage, Colorize):
    """Give a grey picture colours."""


class DejpegRequest(WithImage, Dejpeg):
    """Remove the artefacts of JPEG compression."""


AnyRequest = (
    AutoRequest
    | DenoiseRequest
    | SuperResolveRequest
    | LowLightEnhanceRequest
    | DeblurRequest
    | InpaintRequest
    | ColorizeRequest
    | DejpegRequest
)

REQUESTS: dict[str, type[AnyRequest]] = {
    "auto": AutoRequest,
    "denoise": DenoiseRequest,
    "super-resolve": SuperResolveRequest,
    "low-light-enhance": LowLightEnhanceRequest,
    "deblur": DeblurRequest,
    "inpaint": InpaintRequest,
    "colorize": ColorizeRequest,
    "dejpeg": DejpegRequest,
}


def _task(value: Any) -> Any:
    return value.get("task", "auto") if isinstance(value, dict) else getattr(value, "task", None)


RestoreRequest = Annotated[
    Annotated[AutoRequest, Tag("auto")]
    | Annotated[DenoiseRequest, Tag("denoise")]
    | Annotated[SuperResolveRequest, Tag("super-resolve")]
    | Annotated[LowLightEnhanceRequest, Tag("low-light-enhance")]
    | Annotated[DeblurRequest, Tag("deblur")]
    | Annotated[InpaintRequest, Tag("inpaint")]
    | Annotated[ColorizeRequest, Tag("colorize")]
    | Annotated[DejpegRequest, Tag("dejpeg")],
    Discriminator(_task, custom_error_type="task", custom_error_message=f"task is one of {', '.join(REQUESTS)}"),
]
