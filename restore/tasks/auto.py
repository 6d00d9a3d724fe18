"""Auto: find out what is wrong with a picture, choose the task, and say so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from restore.estimation import estimate_quality, estimate_visible_noise
from restore.prior.protocol import PriorInfo
from restore.tasks.dejpeg import dejpeg
from restore.tasks.denoise import denoise
from restore.tasks.low_light_enhance import low_light_enhance
from restore.tasks.parameters import Parameters
from restore.tasks.plan import Plan, Source

#: A picture whose mean luma (0-255) lies below, and whose brightest twentieth lies below, was taken in the dark.
DARK_MEAN, DARK_BRIGHT = 60.0, 150.0
#: JPEG quality below which artefacts show.
POOR_QUALITY = 85
#: Noise (0-255) below which a picture counts as clean; blind estimates of clean photographs stay under 2.
VISIBLE_NOISE = 2.5


def auto(source: Source, parameters: Parameters, prior: PriorInfo) -> Plan:
    """One task, by what stands out most: darkness, then noise, then JPEG artefacts; a picture with none of these
    is returned as it was, and the report says so."""
    symptoms = examine(source)
    given = parameters.noise != "auto"
    noise = float(parameters.noise) if parameters.noise != "auto" else symptoms["noise"]
    quality = symptoms["quality"]
    compressed = quality is not None and quality < POOR_QUALITY
    if symptoms["mean"] < DARK_MEAN and symptoms["bright"] < DARK_BRIGHT:
        chosen, plan = "low-light-enhance", low_light_enhance(source, parameters, prior)
    elif compressed and noise < 2.0 * VISIBLE_NOISE and not given:
        chosen, plan = "dejpeg", dejpeg(source, parameters, prior)
    elif noise >= VISIBLE_NOISE or given:
        chosen, plan = "denoise", denoise(source, replace(parameters, noise=noise), prior)
        if not given:
            plan.found["noise_source"] = symptoms["noise_source"]
    else:
        chosen, plan = "none", denoise(source, replace(parameters, noise=0.0), prior)
        plan = replace(plan, warnings=("nothing to restore was found: the picture is returned as it was",))
        plan = replace(plan, finish=lambda x: source.image.expand_as(x), baseline=None)
    return replace(plan, found={**symptoms, **plan.found, "chosen": chosen})


def examine(source: Source) -> dict[str, Any]:
    """Brightness and noise on the 0-255 scale, and JPEG quality (None when no trace of compression is found)."""
    luma = _luma(source.image)
    noise, correlated = estimate_visible_noise(source.image)
    return {
        "mean": round(float(luma.mean()), 2),
        "bright": round(float(_quantile(luma, 0.95)), 2),
        "noise": round(noise * 127.5, 3),
        "noise_source": "estimated, correlated between pixels" if correlated else "estimated",
        "quality": estimate_quality(source.image, source.quantisation),
    }


def _luma(image: Tensor) -> Tensor:
    weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    return ((image + 1.0) * 127.5 * weights).sum(dim=1)


def _quantile(values: Tensor, q: float) -> Tensor:
    flat = values.flatten()
    return flat[:: max(1, flat.numel() // 100_000)].quantile(q)
