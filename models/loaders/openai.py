"""State dicts of guided-diffusion, improved-diffusion and the consistency models, without a flag to guess.

The architecture is read from names and shapes. What leaves no trace there is resolved in this order: what the caller
says; the flags of the published checkpoint with the same architecture; the layout's convention. Which of them it was
is told in `LoadedPrior.assumed`. `alternatives` lists the other readings, for whoever can measure which is right.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.errors import UnsupportedNetworkError, WrongShapeError
from models.guided_unet import Attention, GuidedUNet, GuidedUNetConfig, Resampling, reorder_attention
from models.loaders.loaded import LoadedPrior, LoadOptions
from models.loaders.openai_releases import RELEASES, Flags, conventional, signature
from models.loaders.parametrisation import parametrised
from models.loaders.tensors import fill, without_prefix
from restore.errors import ParameterError
from restore.prior.protocol import PriorInfo

SCHEDULES = {"linear": "linear", "cosine": "squaredcos_cap_v2"}
LEGACY_TIMESTEPS = 1000


def matches(tensors: Mapping[str, Tensor]) -> bool:
    """Whether tensors have this layout's names, those of its classifiers and of Stable Diffusion included."""
    return any(re.match(r"(model\.diffusion_model\.)?input_blocks\.0\.0\.weight$", name) for name in tensors)


def load(tensors: dict[str, Tensor], source: Path, name: str, options: LoadOptions) -> LoadedPrior:
    """The prior in a state dict.

    Args:
        tensors: of the checkpoint.
        source: file they come from, for messages; "edm" in its name tells an EDM network from a consistency model.
        name: of the prior.
        options: what the checkpoint does not say.

    Raises:
        UnsupportedNetworkError: a classifier, an upsampler, a latent or a text-conditional network.
        WrongShapeError: tensors that do not fit together.
        ParameterError: an option that this network does not have.
    """
    tensors = without_prefix(tensors, "model.")
    config = architecture(tensors, source)
    kind = _kind(tensors, source, options)
    known = RELEASES.get(signature(config))
    flags, origin = (known[1], f"as in {known[0]}") if known else (conventional(config), "by this layout's convention")
    if kind != "diffusion":
        flags = Flags(flags.native_size, None, 64, "new")
        origin = "as in OpenAI's consistency models"
        if int(config.channel_multiples[-1] * config.model_channels) % 64:
            flags = replace(flags, heads=conventional(config).heads, head_channels=None)
    given = options.given()
    flags = _with_options(flags, options)
    config = replace(config, heads=flags.heads, head_channels=flags.head_channels)
    if options.class_label is not None and not 0 <= options.class_label < config.classes:
        has = f"classes 0 to {config.classes - 1}" if config.classes else "no classes"
        raise ParameterError(f"{source} has {has}, not {options.class_label}")
    scheduler = _scheduler(kind, flags, options, learned=config.out_channels == 6)
    with torch.device("meta"):
        core = GuidedUNet(config, options.class_label)
    fill(core, _canonical(tensors, config, flags, source), source)
    network = parametrised(core, scheduler)
    info = PriorInfo(
        name,
        sigma_min=network.sigma_min,
        sigma_max=network.sigma_max,
        multiple_of=config.multiple_of,
        native_size=flags.native_size,
        receptive_field=2 * flags.native_size,
        differentiable=True,
    )
    schedule = (
        f"{flags.noise_schedule}, {flags.timesteps} timesteps" if kind == "diffusion" else "continuous noise levels"
    )
    return LoadedPrior(
        network, info, "GuidedUNet", sum(p.numel() for p in core.parameters()),
        "epsilon" if kind == "diffusion" else kind, schedule, (source,),
        _found(config), _assumed(kind, config, flags, origin, given, source), scheduler, core,
    )  # fmt: skip


def architecture(tensors: Mapping[str, Tensor], source: Path) -> GuidedUNetConfig:
    """The architecture that names and shapes tell; the number of heads is not among it.

    Every level has n residual blocks on the way down and n + 1 on the way up, the last of which carries the
    upsampling; where that has no weights, the missing entry of the pooling on the way down tells n.

    Raises:
        UnsupportedNetworkError: see `load`.
        WrongShapeError: tensors that do not fit together.
    """
    _refuse_relatives(tensors, source)
    inputs, outputs = _stages(tensors, "input_blocks"), _stages(tensors, "output_blocks")
    try:
        base = tensors["time_embed.0.weight"].shape[1]
        blocks, resampling = _blocks(inputs, outputs)
        levels = (max(outputs) + 1) // (blocks + 1)
        if max(inputs) + 1 != levels * (blocks + 1) or max(outputs) + 1 != levels * (blocks + 1):
            raise WrongShapeError(
                f"{source} has {max(inputs) + 1} stages down and {max(outputs) + 1} up, which make no UNet with "
                f"{blocks} residual blocks a level; the file is incomplete"
            )
        widths, attention = [], []
        for level in range(levels):
            first = f"input_blocks.{1 + level * (blocks + 1)}"
            widths.append(tensors[f"{first}.0.out_layers.3.weight"].shape[0])
            attention.append(f"{first}.1.qkv.weight" in tensors)
        modulation = tensors["input_blocks.1.0.emb_layers.1.weight"].shape[0]
        return GuidedUNetConfig(
            base,
            tuple(width / base for width in widths),
            blocks,
            tuple(attention),
            tensors["out.2.weight"].shape[0],
            resampling,
            modulation == 2 * widths[0],
            tensors["label_emb.weight"].shape[0] if "label_emb.weight" in tensors else 0,
        )
    except (KeyError, IndexError, ZeroDivisionError, ValueError) as error:
        raise WrongShapeError(
            f"{source} has the names of a guided-diffusion network, but lacks {error}; the file is incomplete"
        ) from error


def alternatives(loaded: LoadedPrior, options: LoadOptions) -> Iterator[tuple[str, LoadOptions]]:
    """Other readings of a checkpoint that is none of the published ones, each with its name.

    Args:
        loaded: the reading that was taken.
        options: those it was loaded with; what they say is not varied.
    """
    core = loaded.core
    if not isinstance(core, GuidedUNet) or loaded.prediction != "epsilon" or signature(core.config) in RELEASES:
        return
    now = loaded.scheduler
    for schedule, steps in (("linear", 1000), ("cosine", 1000), ("linear", 4000), ("cosine", 4000)):
        same = now["beta_schedule"] == SCHEDULES[schedule] and now["num_train_timesteps"] == steps
        if not same and options.noise_schedule is None and options.timesteps is None:
            yield (
                f"{schedule} schedule of {steps} timesteps",
                replace(options, noise_schedule=schedule, timesteps=steps, rescale_timesteps=steps != 1000),  # type: ignore[arg-type]
            )
    if options.heads is None and options.head_channels is None:
        for heads, channels in ((None, 64), (None, 32), (4, None), (1, None), (8, None)):
            if (heads, channels) != (core.config.heads, core.config.head_channels) and _divides(core, heads, channels):
                words = f"{heads} heads" if heads else f"heads of {channels} channels"
                yield words, replace(options, heads=heads, head_channels=channels)
    if options.attention_order is None:
        yield "attention stored in the new order", replace(options, attention_order="new")


def _divides(core: GuidedUNet, heads: int | None, channels: int | None) -> bool:
    widths = [part.norm.num_channels for part in core.modules() if isinstance(part, Attention)]
    return all(width % (heads or channels or 1) == 0 for width in widths)


def _stages(tensors: Mapping[str, Tensor], part: str) -> dict[int, set[str]]:
    """Stage number -> names inside it."""
    stages: dict[int, set[str]] = {}
    for name in tensors:
        if match := re.match(rf"{part}\.(\d+)\.(.+)", name):
            stages.setdefault(int(match[1]), set()).add(match[2])
    return stages


def _blocks(inputs: dict[int, set[str]], outputs: dict[int, set[str]]) -> tuple[int, Resampling]:
    """Residual blocks of a level, and how levels are joined."""
    for number in sorted(outputs):
        if any(re.match(r"[12]\.conv\.weight$", name) for name in outputs[number]):
            return number, "convolution"
        if any(re.match(r"[12]\.in_layers\.2\.weight$", name) for name in outputs[number]):
            return number, "residual"
    gaps = sorted(set(range(max(inputs) + 1)) - inputs.keys())
    return (gaps[0] - 1, "none") if gaps else (max(outputs), "residual")


def _refuse_relatives(tensors: Mapping[str, Tensor], source: Path) -> None:
    if any("positional_embedding" in name for name in tensors):
        raise UnsupportedNetworkError(f"{source} ends in attention pooling: it is a classifier, not a denoiser")
    if any(name.startswith(("model.diffusion_model.", "diffusion_model.", "first_stage_model.")) for name in tensors):
        raise UnsupportedNetworkError(f"{source} is a latent diffusion model; a prior here works on pixels")
    if not any(name.startswith("output_blocks.") for name in tensors):
        raise UnsupportedNetworkError(f"{source} has no way up (output_blocks): it is a classifier, not a denoiser")
    if any("encoder_kv" in name or ".transformer_blocks." in name or "attn2" in name for name in tensors):
        raise UnsupportedNetworkError(f"{source} is conditioned on text, which nobody gives a prior here")
    head = tensors["input_blocks.0.0.weight"]
    if head.ndim != 4:
        raise UnsupportedNetworkError(f"{source} is a network of {head.ndim - 2}-dimensional data, not of pictures")
    if head.shape[1] != 3:
        why = "an upsampler that also wants a small picture" if head.shape[1] == 6 else "no network of RGB pictures"
        raise UnsupportedNetworkError(f"{source} takes {head.shape[1]} channels: {why}")


def _kind(tensors: Mapping[str, Tensor], source: Path, options: LoadOptions) -> str:
    """The consistency models' code, shared by their EDM teachers, stores attention as 2-d convolutions.

    Neither of them learns a variance.
    """
    if options.kind is not None:
        return options.kind
    if tensors["out.2.weight"].shape[0] == 6:
        return "diffusion"
    if tensors["middle_block.1.qkv.weight"].ndim != 4 if "middle_block.1.qkv.weight" in tensors else True:
        return "diffusion"
    return "edm" if "edm" in source.name.lower() else "consistency"


def _with_options(flags: Flags, options: LoadOptions) -> Flags:
    if options.heads is not None or options.head_channels is not None:
        flags = replace(flags, heads=options.heads, head_channels=options.head_channels)
    names = ("native_size", "attention_order", "noise_schedule", "timesteps", "rescale_timesteps")
    return replace(flags, **{key: value for key in names if (value := getattr(options, key)) is not None})


def _scheduler(kind: str, flags: Flags, options: LoadOptions, learned: bool) -> dict[str, Any]:
    if kind == "diffusion":
        # OpenAI's linear schedule keeps its end points for 1000 timesteps and shrinks with more of them.
        shrink = LEGACY_TIMESTEPS / flags.timesteps
        return {
            "_class_name": "DDPMScheduler",
            "num_train_timesteps": flags.timesteps,
            "beta_schedule": SCHEDULES[flags.noise_schedule],
            "beta_start": 1e-4 * shrink,
            "beta_end": 0.02 * shrink,
            "prediction_type": "epsilon",
            "variance_type": "learned_range" if learned else "fixed_large",
            "clip_sample": True,
            "timestep_scale": shrink if flags.rescale_timesteps else 1.0,
        }
    return {
        "_class_name": "CMStochasticIterativeScheduler" if kind == "consistency" else "EDMEulerScheduler",
        "sigma_min": 0.002,
        "sigma_max": 80.0,
        "sigma_data": 0.5 if options.sigma_data is None else options.sigma_data,
        "noise_scale": 1000.0,
    }


def _canonical(
    tensors: Mapping[str, Tensor], config: GuidedUNetConfig, flags: Flags, source: Path
) -> dict[str, Tensor]:
    """The tensors in this package's form: attention as 2-d convolutions, all queries before all keys and values."""
    canonical = {}
    for name, value in tensors.items():
        if name.endswith(("qkv.weight", "proj_out.weight")) and value.ndim == 3:
            value = value[..., None]
        if ".qkv." in name and flags.attention_order == "legacy":
            heads = config.heads_of(value.shape[0] // 3)
            if heads < 1 or value.shape[0] % (3 * heads):
                raise WrongShapeError(f"{source}: {name} with {value.shape[0]} rows has no {heads} heads")
            value = reorder_attention(value, heads)
        canonical[name] = value
    return canonical


def _found(config: GuidedUNetConfig) -> tuple[str, ...]:
    attending = [str(2**level) for level, attends in enumerate(config.attention) if attends]
    return (
        f"{config.model_channels} channels times {', '.join(f'{m:g}' for m in config.channel_multiples)}, "
        f"{config.res_blocks} residual blocks a level",
        f"attention at 1/{', 1/'.join(attending)} of the size" if attending else "attention in the middle only",
        f"{config.classes} classes" if config.classes else "unconditional",
        "learned variance, not used" if config.out_channels == 6 else "fixed variance",
    )


def _assumed(
    kind: str, config: GuidedUNetConfig, flags: Flags, origin: str, given: Mapping[str, Any], source: Path
) -> tuple[str, ...]:
    def why(*keys: str) -> str:
        return "as asked" if any(key in given for key in keys) else origin

    heads = f"{flags.heads} heads" if flags.heads is not None else f"heads of {flags.head_channels} channels"
    said = [
        f"pictures of {flags.native_size} pixels, {why('native_size')}",
        f"{heads}, {why('heads', 'head_channels')}",
        f"attention stored in the {flags.attention_order} order, {why('attention_order')}",
    ]
    if kind == "diffusion":
        scaled = " scaled to 1000" if flags.rescale_timesteps else ""
        said.append(
            f"{flags.noise_schedule} schedule of {flags.timesteps} timesteps{scaled}, "
            f"{why('noise_schedule', 'timesteps', 'rescale_timesteps')}"
        )
    else:
        word = {"edm": "an EDM network", "consistency": "a consistency model"}[kind]
        said.append(f"{word}, {'as asked' if 'kind' in given else f'by the name {source.name}'}")
    if config.classes and "class_label" not in given:
        said.append("no class: the mean of all classes' embeddings")
    return tuple(said)
