"""The commands that restore pictures: one a task, and `restore`, which finds the task."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import click

from service.cli.remote import refuse_local_options, server_of
from service.cli.values import AutoNumber

Function = Callable[..., Any]

FORMATS = ("png", "jpeg", "webp", "tiff", "avif", "ppm", "bmp")
TASK_NAMES = ("auto", "denoise", "super-resolve", "low-light-enhance", "deblur", "inpaint", "colorize", "dejpeg")

NOISE = click.option(
    "--noise",
    type=AutoNumber(float, 0.0, 255.0),
    help="Standard deviation of the noise on the 0-255 scale.  [default: auto, estimated where the task can]",
)
SCALE = click.option("--scale", type=click.Choice(["2", "3", "4", "8"]), help="Enlargement.  [default: 4]")
EXPOSURE = click.option(
    "--exposure", type=AutoNumber(float, -2.0, 8.0), help="Brightening in stops.  [default: auto, estimated]"
)
QUALITY = click.option(
    "--quality",
    type=AutoNumber(int, 1, 100),
    help="JPEG quality to undo.  [default: auto, the file's own tables or estimated]",
)


def _kernel(required: bool) -> Callable[[Function], Function]:
    return click.option(
        "--kernel",
        metavar="KERNEL",
        required=required,
        help="The blur: gaussian:SIGMA, defocus:RADIUS, motion:LENGTH:ANGLE (pixels, degrees), or a picture "
        "or .npy file of it.",
    )


def _mask(required: bool) -> Callable[[Function], Function]:
    return click.option(
        "--mask",
        metavar="FILE",
        required=required,
        help="Picture of the same size, bright where IN is to be filled in; or a .npy array, non-zero there.",
    )


def _common(function: Function) -> Function:
    """The arguments and options that every task takes."""
    options = [
        click.argument("inputs", metavar="IN...", nargs=-1, required=True),
        click.argument("output", metavar="OUT"),
        click.option(
            "--fidelity",
            type=click.FloatRange(0.0, 1.0),
            help="1: least distortion, a posterior mean; 0: a posterior sample.  [default: 1; 0 with --samples]",
        ),
        click.option("--steps", type=click.IntRange(1, 1000), help="Calls of the prior.  [default: the task's]"),
        click.option(
            "--samples",
            type=click.IntRange(1, 64),
            help="Posterior samples drawn; their mean is written.  [default: 1]",
        ),
        click.option(
            "--strength",
            type=click.FloatRange(0.0, 1.0),
            help="Blend of the restored (1) with the given picture (0).  [default: 1]",
        ),
        click.option("--seed", type=click.IntRange(0, 2**63 - 1), help="Of every random number.  [default: 0]"),
        click.option(
            "--uncertainty",
            metavar="FILE",
            help="Write where the samples disagree (standard deviation, 0-255 scale) to a .png or .npy; for several "
            "pictures a folder. Needs --samples.",
        ),
        click.option(
            "--prior", help="An installed prior, or the path of a file or folder with one.  [default: the embedded]"
        ),
        click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N."),
        click.option(
            "--runtime",
            default="auto",
            show_default=True,
            help="What runs the prior: torch, torch-compile, torch-cudagraphs, onnxruntime, onnxruntime-tensorrt, "
            "openvino or tensorrt, perhaps with a precision (openvino:bf16). auto: the fastest that "
            "`pellucid models bench` found here, torch before that.",
        ),
        click.option(
            "--tile",
            type=click.IntRange(min=1),
            help="Side of the tiles the prior works in; kept even when memory runs out, which is then an error.  "
            "[default: what fits into the free memory]",
        ),
        click.option(
            "--format",
            type=click.Choice(FORMATS),
            help="Of what is written to a folder or standard output.  [default: as IN]",
        ),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object a picture on standard output."),
        click.option("--overwrite/--no-overwrite", default=False, help="Replace existing files.  [default: refuse]"),
        click.option("--keep-gps", is_flag=True, help="Keep the place in the metadata; it is removed otherwise."),
        click.option("-q", "--quiet", is_flag=True, help="No progress, no summary, no warnings; errors only."),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def _command(task: str, help: str, *own: Callable[[Function], Function]) -> click.Command:
    def run(**options: Any) -> None:
        context = click.get_current_context()
        chosen, address = options.pop("task", task), server_of(context)
        if address is None:
            from service.cli.batch import restore_pictures

            sys.exit(restore_pictures(chosen, options))
        refuse_local_options(context)
        from service.cli.remote_batch import restore_remotely

        sys.exit(restore_remotely(chosen, options, address))

    run.__doc__ = help
    function: Function = _common(run)
    for option in reversed(own):
        function = option(function)
    return click.command("restore" if task == "auto" else task)(function)


COMMANDS = (
    _command("denoise", "Remove noise of known or estimated strength.", NOISE),
    _command("super-resolve", "Enlarge 2, 3, 4 or 8 times.", SCALE, NOISE),
    _command("low-light-enhance", "Brighten a dark picture and remove the noise that comes to light.", EXPOSURE, NOISE),
    _command("deblur", "Undo a known blur.", _kernel(True), NOISE),
    _command("inpaint", "Fill in what a mask marks.", _mask(True), NOISE),
    _command("colorize", "Give a grey picture colours.", NOISE),
    _command("dejpeg", "Remove the artefacts of JPEG compression.", QUALITY),
    _command(
        "auto",
        "Find out what is wrong with each picture and restore it, or do one named task.",
        click.option("--task", type=click.Choice(TASK_NAMES), default="auto", show_default=True),
        NOISE,
        SCALE,
        EXPOSURE,
        QUALITY,
        _kernel(False),
        _mask(False),
    ),
)
