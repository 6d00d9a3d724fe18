"""What a job would cost, known before it is queued."""

from __future__ import annotations

from restore.errors import ImageSizeError
from service.intake.protocol import Examined
from service.problems import Code, Problem
from service.schemas.parameters import AnyParameters, SuperResolve
from service.schemas.requests import AnyRequest
from service.settings import Settings

#: Denoiser calls of a task at fidelity 1 and below it, as in `restore.tasks`; the tests compare.
CALLS = {
    "auto": (4, 8),
    "denoise": (1, 8),
    "super-resolve": (8, 8),
    "low-light-enhance": (3, 8),
    "deblur": (8, 8),
    # Of a large hole more, but most on smaller pictures: less work in all.
    "inpaint": (24, 24),
    "colorize": (4, 4),
    "dejpeg": (4, 4),
}
#: More than these at fidelity 1 are not made, whatever `steps` says: a mean over a picture's orientations has no more.
MOST_AT_ONE = {"denoise": 8}


def calls(parameters: AnyParameters | AnyRequest, own: int | None = None) -> int:
    """Denoiser calls that a job would make.

    Args:
        parameters: of the job.
        own: calls that its prior makes where nobody says how many; the task's when None.
    """
    fidelity = parameters.fidelity if parameters.fidelity is not None else float(parameters.samples == 1)
    asked = parameters.steps or own or CALLS[parameters.task][fidelity < 1.0]
    if fidelity == 1.0:
        asked = min(asked, MOST_AT_ONE.get(parameters.task, asked))
    return asked * parameters.samples


def check(
    parameters: AnyParameters | AnyRequest, image: Examined, settings: Settings, own_calls: int | None = None
) -> None:
    """Refuse what would be too large or cost too much.

    Args:
        parameters: of the job.
        image: its picture.
        settings: the limits.
        own_calls: see `calls`.

    Raises:
        Problem: IMAGE_SIZE, WORK_BUDGET, INVALID_PARAMETER.
    """
    scale = parameters.scale if isinstance(parameters, SuperResolve) else 1
    width, height = image.width * scale, image.height * scale
    try:
        settings.limits.check_output(width, height, "image")
    except ImageSizeError as error:
        raise Problem(Code.IMAGE_SIZE, str(error)) from None
    if parameters.samples > 1 and parameters.fidelity == 1.0:
        message = "at fidelity 1 every sample is the same picture: give samples > 1 a lower fidelity"
        raise Problem(Code.INVALID_PARAMETER, message, errors=[{"field": "samples", "message": message}])
    count = calls(parameters, own_calls)
    work = width * height / 1e6 * count
    if work > settings.max_work:
        raise Problem(
            Code.WORK_BUDGET,
            f"{width * height / 1e6:.1f} megapixels out times {count} denoiser calls = {work:.0f}; "
            f"at most {settings.max_work:g} are taken: ask for fewer steps or samples, or send a smaller picture",
        )
