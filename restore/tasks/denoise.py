"""Denoise: additive Gaussian noise of known or estimated strength."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from restore.degradations import Identity
from restore.degradations.noise import GaussianNoise
from restore.prior.protocol import PriorInfo
from restore.sampling import denoise_posterior, self_ensemble
from restore.sampling.ensemble import ORIENTATIONS
from restore.sampling.protocol import Problem, Sampling
from restore.tasks.noise_level import shared_by_channels, visible_noise_level
from restore.tasks.parameters import Parameters
from restore.tasks.plan import Plan, Source

#: Below this (0-255 scale) a picture counts as clean: half of the rounding of 8-bit files, 1/sqrt(12), and a margin.
CLEAN = 0.3

#: Calls of a posterior sample.
SAMPLE_STEPS = 8


def denoise(source: Source, parameters: Parameters, prior: PriorInfo) -> Plan:
    """y = x + n. At fidelity 1 one call of the prior is the exact posterior mean, and more steps average it over the
    picture's orientations; below, the reverse process starts at the noisy picture itself."""
    level, found = visible_noise_level(source, parameters)
    sigma = max(level, CLEAN) * shared_by_channels(source) / 127.5
    fidelity = parameters.effective_fidelity
    if fidelity == 1.0:
        steps = min(parameters.steps or 1, ORIENTATIONS)
        sampler: Callable[[Problem], Sampling] = partial(self_ensemble, steps=steps)
    else:
        steps = parameters.steps or SAMPLE_STEPS
        sampler = partial(denoise_posterior, steps=steps, fidelity=fidelity)
    return Plan(
        y=source.image,
        degradation=Identity(GaussianNoise(sigma)),
        sampler=sampler,
        found=found,
        effective={"steps": steps},
    )
