"""Denoise: additive Gaussian noise of known or estimated strength."""

from __future__ import annotations

from functools import partial

from restore.degradations import Identity
from restore.degradations.noise import GaussianNoise
from restore.prior.protocol import PriorInfo
from restore.sampling import denoise_posterior
from restore.tasks.noise_level import noise_level
from restore.tasks.parameters import Parameters
from restore.tasks.plan import Plan, Source

#: Below this (0-255 scale) a picture counts as clean: half of the rounding of 8-bit files, 1/sqrt(12), and a margin.
CLEAN = 0.3


def denoise(source: Source, parameters: Parameters, prior: PriorInfo) -> Plan:
    """y = x + n. At fidelity 1 one call of the prior is the exact posterior mean; below it, the reverse process
    starts at the noisy picture itself."""
    level, found = noise_level(source, parameters)
    sigma = max(level, CLEAN) / 127.5
    steps = parameters.steps or (1 if parameters.effective_fidelity == 1.0 else 8)
    return Plan(
        y=source.image,
        degradation=Identity(GaussianNoise(sigma)),
        sampler=partial(denoise_posterior, steps=steps, fidelity=parameters.effective_fidelity),
        found=found,
        effective={"steps": steps},
    )
