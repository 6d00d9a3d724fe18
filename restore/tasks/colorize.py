"""Colorize: the luma is known, the chroma is not."""

from __future__ import annotations

import math

import torch

from restore.degradations import Grey, Opponent
from restore.degradations.grey import BT601
from restore.degradations.noise import GaussianNoise, PerPixelGaussianNoise
from restore.estimation.colour import installed_colour_estimators, load_colour_estimator
from restore.prior.protocol import PriorInfo
from restore.sampling import log_grid
from restore.tasks.parameters import Parameters
from restore.tasks.plan import Plan, Source
from restore.tasks.trust import by_fidelity

#: Calls, first and last noise level: the prior brings edges of colour to those of luma. On 17 photographs 8 calls from
#: 0.3 gave 0.01 dB more.
STEPS, START, END = 4, 0.1, 0.02

#: Without an estimator colour is decided while hardly anything is: from 9 the colours of two photographs came out
#: 1.6 dB closer than from 1, where the prior no longer doubts what it started from.
ALONE_STEPS, ALONE_START, ALONE_END = 16, 9.0, 0.1

#: Least noise of a grey picture on the 0-255 scale: of rounding to 8 bits.
ROUNDING = 0.3


def colorize(source: Source, parameters: Parameters, prior: PriorInfo) -> Plan:
    """Colours for a grey picture: the mean of those that such a place in such a picture has, at any fidelity; muted,
    for an average over plausible colours is. The spread of samples holds how far the true ones are expected from it.
    """
    noise = 0.0 if parameters.noise == "auto" else float(parameters.noise)
    level = max(noise, ROUNDING) / 127.5
    if "default" not in installed_colour_estimators():
        return _alone(source, parameters, level)
    luma = Grey().forward(source.image)
    picture, deviation = load_colour_estimator()(luma)
    # One level for the whole picture: the prior's calls are far below it, and a map would only take memory.
    of_colour = float(deviation.square().mean().sqrt())
    of_luma = level / sum(w * w for w in BT601) ** 0.5
    sigma = torch.tensor([of_luma, of_colour, of_colour], device=luma.device).view(1, 3, 1, 1)
    degradation = Opponent(PerPixelGaussianNoise(sigma))
    steps = parameters.steps or STEPS
    # Two directions of colour over three channels; on the 0-255 scale.
    unknown = deviation.mul_(127.5 * math.sqrt(2.0 / 3.0))
    return Plan(
        y=degradation.forward(picture.to(luma)),
        degradation=degradation,
        sampler=by_fidelity(parameters.effective_fidelity, log_grid(steps, START, END), extrapolation=0.0),
        # What the estimator leaves open is the same for all samples, and more than what they differ by.
        finish_map=lambda spread: torch.hypot(spread, unknown.to(spread)),
        found={"noise": level * 127.5, "colour_deviation": round(of_colour * 127.5, 2)},
        effective={"steps": steps},
        colour=True,
    )


def _alone(source: Source, parameters: Parameters, level: float) -> Plan:
    """By the prior alone, which knows little of what things are."""
    degradation = Grey(GaussianNoise(level))
    steps = parameters.steps or ALONE_STEPS
    sigmas = log_grid(steps, ALONE_START, ALONE_END)
    return Plan(
        y=degradation.forward(source.image),
        degradation=degradation,
        sampler=by_fidelity(parameters.effective_fidelity, sigmas, extrapolation=0.0),
        found={"noise": level * 127.5},
        effective={"steps": steps},
        colour=True,
        warnings=("no learned colour estimator is installed: the prior chose the colours alone",),
    )
