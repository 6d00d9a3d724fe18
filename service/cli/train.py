"""`pellucid train`: train a prior of photographs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from service.cli.values import Duration, Numbers

#: Options whose value is a field of `TrainingConfig` of the same name; what is not given keeps that class's default.
FIELDS = (
    "channels", "blocks", "middle", "unshuffle", "activation", "modulation", "batch", "patch", "lr", "optimizer",
    "warmup_steps", "weight_decay", "ema", "shrink", "synthetic", "mismatch", "distilled", "grey", "sigma_low",
    "sigma_high", "sigma_min", "sigma_max", "high_share", "gradient_clip", "spike", "seed", "compile",
)  # fmt: skip

_POSITIVE = click.IntRange(min=1)
_ABOVE_ZERO = click.FloatRange(min=0.0, min_open=True)
_SHARE = click.FloatRange(0.0, 1.0)


@click.command()
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True,
              help="Folder of photographs, searched in depth.")  # fmt: skip
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True,
              help="Folder of the run: state.pt to resume, log.csv, config.json, ema/ with the weights.")  # fmt: skip
@click.option("--budget", type=Duration(), default="1h", show_default=True, help="Training time: 2h, 90m, 1h30m.")
@click.option("--decay", type=Duration(), default="10m", show_default=True,
              help="Last part of the budget, in which the learning rate falls to zero.")  # fmt: skip
@click.option("--resume", is_flag=True, help="Continue the run in OUT, if there is one.")
@click.option("--init", type=click.Path(exists=True, file_okay=False, path_type=Path),
              help="Folder of weights to start a new run from, such as another run's ema/.")  # fmt: skip
@click.option("--teacher", type=click.Path(exists=True, file_okay=False, path_type=Path),
              help="Folder of weights whose answers are learned; see --mismatch and --distilled.")  # fmt: skip
@click.option("--told-teacher", type=click.Path(exists=True, file_okay=False, path_type=Path),
              help="Folder of weights whose answers --distilled is about, instead of --teacher.")  # fmt: skip
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--channels", type=Numbers(), help="Of each resolution level, such as 96,192,320.")
@click.option("--blocks", type=Numbers(), help="Residual blocks of each level and direction, such as 2,2,2.")
@click.option("--middle", type=_POSITIVE, help="Residual blocks at the bottom.")
@click.option("--unshuffle", type=_POSITIVE, help="The first level has so many times fewer pixels a side.")
@click.option("--activation", type=click.Choice(["silu", "hardswish"]), help="Of the residual blocks.")
@click.option("--modulation", type=click.Choice(["blocks", "levels"]),
              help="Where FiLM tells the network the noise: in every block, or where levels begin.")  # fmt: skip
@click.option("--batch", type=_POSITIVE, help="Patches in a step.")
@click.option("--patch", type=click.IntRange(min=16), help="Side of a patch in pixels.")
@click.option("--shrink", type=click.FloatRange(0.0, 1.0, min_open=True),
              help="Every other patch is scaled down by a factor from this to 1.")  # fmt: skip
@click.option("--synthetic", type=_SHARE, help="Share of patches of flat, saturated or synthetic areas.")
@click.option("--mismatch", type=_SHARE, help="Share of patches with another noise than is told; with --teacher.")
@click.option("--distilled", type=_SHARE, help="Weight of a teacher's answers elsewhere.")
@click.option("--grey", type=_SHARE, help="Share of patches whose noise is the same in every channel.")
@click.option("--lr", type=_ABOVE_ZERO, help="Learning rate.")
@click.option("--optimizer", type=click.Choice(["muon", "adamw"]), help="Of the hidden convolutions.")
@click.option("--warmup-steps", type=_POSITIVE, help="Steps until the learning rate is reached.")
@click.option("--weight-decay", type=click.FloatRange(min=0.0), help="Of the weights.")
@click.option("--ema", type=_SHARE, help="Decay of the averaged weights.")
@click.option("--sigma-low", type=_ABOVE_ZERO, help="Least common noise level, range [-1, 1].")
@click.option("--sigma-high", type=_ABOVE_ZERO, help="Largest common noise level.")
@click.option("--sigma-min", type=_ABOVE_ZERO, help="Smallest noise level the prior claims.")
@click.option("--sigma-max", type=_ABOVE_ZERO, help="Largest noise level trained on.")
@click.option("--high-share", type=_SHARE, help="Share of patches above --sigma-high.")
@click.option("--gradient-clip", type=_ABOVE_ZERO, help="Largest norm of a gradient.")
@click.option("--spike", type=_ABOVE_ZERO, help="A patch of a larger loss, in usual losses, weighs as one of this.")
@click.option("--seed", type=click.IntRange(min=0), help="Of every random number.")
@click.option("--compile/--no-compile", default=None, help="Compile the network first.")
@click.option("--validate-every", type=Duration(), help="Time between validations.")
@click.option("--checkpoint-every", type=Duration(), help="Time between checkpoints.")
@click.option("-q", "--quiet", is_flag=True, help="No progress; log.csv is written all the same.")
def train(
    data: Path,
    out: Path,
    budget: float,
    decay: float,
    resume: bool,
    init: Path | None,
    teacher: Path | None,
    told_teacher: Path | None,
    quiet: bool,
    **options: Any,
) -> None:
    """Train a prior on a folder of photographs.

    The learning rate is constant, then falls to zero in the last part of the budget. A long training is a chain of
    short ones: --resume goes on from the end of the constant part. The weights in OUT/ema are used with
    --prior OUT/ema.
    """
    if budget <= 0 or not 0 <= decay <= budget:
        raise click.UsageError("--budget must be positive and --decay at most as long")
    if (out / "state.pt").exists() and not resume:
        raise click.UsageError(f"{out} holds a run; --resume goes on with it, another --out begins anew")
    from models.registry import choose_device
    from models.training import Photographs, Trainer, TrainingConfig

    chosen = {name: options[name] for name in FIELDS if options[name] is not None}
    for name in ("validate_every", "checkpoint_every"):
        if options[name] is not None:
            chosen[f"{name}_seconds"] = options[name]
    config = TrainingConfig(
        **chosen,
        device=str(choose_device(options["device"])),
        budget_seconds=budget,
        # A decay of no time would divide by zero.
        decay_seconds=max(decay, 1e-3),
    )
    if config.mismatch > 0 and teacher is None:
        raise click.UsageError("--mismatch needs a --teacher: clean patches as answers make a worse prior")
    if config.distilled > 0 and teacher is None and told_teacher is None:
        raise click.UsageError("--distilled needs a --teacher or a --told-teacher")
    if told_teacher is not None and config.distilled == 0:
        raise click.UsageError("--told-teacher needs --distilled, which says how much its answers count")
    if config.patch % (config.unshuffle * 2 ** (len(config.channels) - 1)):
        raise click.UsageError("--patch must be divisible by the factor between the picture and the last level")
    if len(config.channels) != len(config.blocks):
        raise click.UsageError("--channels and --blocks must name the same number of levels")
    try:
        photographs = Photographs.load(data)
    except FileNotFoundError as error:
        raise click.UsageError(str(error)) from error
    if not any(min(picture.shape[:2]) >= config.patch for picture in photographs.train):
        raise click.UsageError(f"no photograph in {data} is as large as a patch of {config.patch} pixels; see --patch")
    try:
        trainer = Trainer(photographs, out, config, init, teacher, told_teacher)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    run(trainer, quiet)


def run(trainer: Any, quiet: bool) -> None:
    """Train with a progress bar in seconds of the budget; where the output is no terminal, with a line now and then.

    Args:
        trainer: a `models.training.Trainer`.
        quiet: show nothing.
    """
    import time

    from tqdm import tqdm

    budget = trainer.config.budget_seconds
    start = time.monotonic()
    last: dict[str, Any] = {}
    form = "{desc}|{bar}| {percentage:3.0f}% {elapsed} elapsed, {remaining} left{postfix}"
    with tqdm(total=budget, bar_format=form, disable=True if quiet else None, dynamic_ncols=True) as bar:
        for row in trainer.run():
            last |= row
            bar.update(min(time.monotonic() - start, budget) - bar.n)
            bar.set_description_str(f"step {row['step']} ", refresh=False)
            shown: dict[str, Any] = {key: last[key] for key in ("loss", "psnr15", "psnr25", "psnr50") if key in last}
            bar.set_postfix(shown)
            if bar.disable and not quiet and not row.get("done"):
                click.echo(", ".join(f"{key} {value}" for key, value in row.items()))
    scores = ", ".join(f"sigma {key[4:]}: {value} dB" for key, value in last.items() if key.startswith("psnr"))
    if not quiet:
        click.echo(f"step {last['step']}, {last['seconds']} s of training in all. Validation PSNR: {scores}")
        click.echo(f"weights: {trainer.out / 'ema'}")
