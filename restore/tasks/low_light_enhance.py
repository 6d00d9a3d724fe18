"""Low light: brighten as a normal exposure would have been, and remove the noise that comes to light."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor

from restore.degradations.exposure import Exposure, ToneCurve, linear_light
from restore.degradations.noise import GaussianNoise, NoiseModel
from restore.estimation.dark_noise import ChannelNoise, estimate_dark_noise
from restore.estimation.exposure import (
    LUMA,
    estimate_exposure,
    installed_estimators,
    load_exposure_estimator,
    stops_curve,
)
from restore.prior.protocol import PriorInfo
from restore.sampling.graded import graded
from restore.sampling.protocol import Problem, Sampling
from restore.sampling.schedules import few_step_sigmas
from restore.sampling.unified import unified
from restore.tasks.noise_level import shared_by_channels
from restore.tasks.parameters import Parameters
from restore.tasks.plan import Plan, Source

#: Calls at fidelity 1 and below it. Three levels cover the noise of one picture; see `graded`.
MEAN_STEPS, SAMPLE_STEPS = 3, 8


def low_light_enhance(source: Source, parameters: Parameters, prior: PriorInfo) -> Plan:
    """One global tone curve and white balance for the whole picture, then its noise, amplified by the curve, removed.

    The tones come from the estimator of exposure or, when `parameters.exposure` gives stops, from a gain with a
    highlight roll-off that leaves colours alone; the noise from the dark picture or from `parameters.noise`.
    """
    curve, found, warnings = _curve(source, parameters)
    noise, level = _noise(source, parameters)
    degradation = Exposure(curve, noise=noise)
    return Plan(
        y=source.image,
        degradation=degradation,
        sampler=partial(_sample, steps=parameters.steps, fidelity=parameters.effective_fidelity),
        found=found | level,
        warnings=warnings,
    )


def _sample(problem: Problem, steps: int | None, fidelity: float) -> Sampling:
    if fidelity == 1.0:
        return graded(problem, steps or MEAN_STEPS, max(0.0025, problem.prior.sigma_min))
    start = float(problem.degradation.initial_estimate(problem.y).sigma.max())
    return unified(problem, few_step_sigmas(steps or SAMPLE_STEPS, start=max(2.0 * start, 0.1)), fidelity=fidelity)


def _curve(source: Source, parameters: Parameters) -> tuple[ToneCurve, dict[str, Any], tuple[str, ...]]:
    warnings: tuple[str, ...] = ()
    small = _thumbnail(source.image)
    if parameters.exposure != "auto":
        white = float(_luminance(linear_light(small)).flatten().quantile(0.99))
        curve, origin = stops_curve(float(parameters.exposure), white), "given"
    else:
        name = "default" if "default" in installed_estimators() else "classical"
        if name == "classical":
            warnings = ("no learned exposure estimator is installed: used a classical one, without white balance",)
        curve, origin = estimate_exposure(source.image, load_exposure_estimator(name)), name
    if source.grey:  # a grey picture stays grey
        curve = ToneCurve(curve.dark, curve.bright.mean(0, keepdim=True).expand(3, -1))
    before, after = linear_light(small).mean((0, 2, 3)), linear_light(curve.brighten(small)).mean((0, 2, 3))
    gain = ((after + 1e-6) / (before + 1e-6)).log2()
    stops = float(
        _luminance(after.view(1, 3, 1, 1)).log2() - _luminance(before.view(1, 3, 1, 1)).clamp_min(1e-6).log2()
    )
    found = {
        "exposure": round(stops, 2) if math.isfinite(stops) else 0.0,
        "exposure_source": origin,
        "white_balance": {"red": round(float(gain[0] - gain[1]), 2), "blue": round(float(gain[2] - gain[1]), 2)},
    }
    return curve, found, warnings


def _noise(source: Source, parameters: Parameters) -> tuple[NoiseModel, dict[str, Any]]:
    factor = shared_by_channels(source)
    if parameters.noise != "auto":
        level = float(parameters.noise)
        return GaussianNoise(level * factor / 127.5), {"noise": level, "noise_source": "given"}
    noise = estimate_dark_noise(source.image)
    mean = source.image.mean((2, 3), keepdim=True)
    level = float(noise.variance(mean).mean().sqrt()) * 127.5
    whole = ChannelNoise(noise.gain * factor**2, noise.sigma * factor)
    return whole, {"noise": round(level, 3), "noise_source": "estimated"}


def _thumbnail(image: Tensor) -> Tensor:
    return torch.nn.functional.interpolate(image, (64, 64), mode="area").clamp(-1.0, 1.0)


def _luminance(light: Tensor) -> Tensor:
    return (light * torch.tensor(LUMA).view(1, 3, 1, 1).to(light)).sum(1)
