"""Super-resolve: the given picture is the antialiased bicubic reduction of the wanted one."""

from __future__ import annotations

from restore.degradations import Bicubic, bicubic_upsample
from restore.degradations.noise import GaussianNoise
from restore.prior.protocol import PriorInfo
from restore.sampling import few_step_sigmas
from restore.tasks.noise_level import noise_level
from restore.tasks.parameters import Parameters
from restore.tasks.plan import Plan, Source
from restore.tasks.trust import SAMPLE_INFLATION, by_fidelity

#: Noise below this (0-255 scale) is taken for texture: reducing a picture concentrates its detail, which a blind
#: estimate cannot tell from noise.
TEXTURE = 4.0

#: Rounding to 8 bits, 1/sqrt(12) on the 0-255 scale.
ROUNDING = 0.29


def super_resolve(source: Source, parameters: Parameters, prior: PriorInfo) -> Plan:
    """Enlarge by `scale` in 8 calls: more change the result by less than 0.1 dB (benchmarks/results)."""
    level, found = noise_level(source, parameters)
    if parameters.noise == "auto" and level < TEXTURE:
        level, found = 0.0, {**found, "noise": 0.0, "noise_source": "too low to tell from texture"}
    scale = parameters.scale
    height, width = source.image.shape[-2:]
    size = (height * scale, width * scale)
    steps = parameters.steps or 8
    fidelity = parameters.effective_fidelity
    return Plan(
        y=source.image,
        degradation=Bicubic(scale, size, GaussianNoise(max(level, ROUNDING) / 127.5)),
        sampler=by_fidelity(fidelity, few_step_sigmas(steps, fidelity), sample_inflation=SAMPLE_INFLATION),
        baseline=lambda: bicubic_upsample(source.image, scale, size),
        found=found,
        effective={"steps": steps},
    )
