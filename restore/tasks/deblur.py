"""Deblur: a known point spread function, whatever lies outside the frame unknown."""

from __future__ import annotations

from restore.degradations import Blur
from restore.degradations.kernels import as_kernel
from restore.degradations.noise import GaussianNoise
from restore.errors import ParameterError
from restore.prior.protocol import PriorInfo
from restore.sampling import few_step_sigmas
from restore.tasks.noise_level import noise_level
from restore.tasks.parameters import Parameters
from restore.tasks.plan import Plan, Source
from restore.tasks.trust import SAMPLE_INFLATION, by_fidelity

#: Rounding to 8 bits and what a kernel is never known better than, on the 0-255 scale.
MISMATCH = 0.5


def deblur(source: Source, parameters: Parameters, prior: PriorInfo) -> Plan:
    """Restore the frame together with an unknown margin of half a kernel around it, then crop."""
    if parameters.kernel is None:
        raise ParameterError(
            "deblur needs the kernel: give a [k, k] point spread function, or on the command line "
            "gaussian:SIGMA, motion:LENGTH:ANGLE or a file"
        )
    kernel = as_kernel(parameters.kernel)
    level, found = noise_level(source, parameters)
    steps = parameters.steps or 8
    fidelity = parameters.effective_fidelity
    top, left = kernel.shape[-2] // 2, kernel.shape[-1] // 2
    height, width = source.image.shape[-2:]
    frame = (..., slice(top, top + height), slice(left, left + width))
    return Plan(
        y=source.image,
        degradation=Blur(kernel, boundary="valid", noise=GaussianNoise(max(level, MISMATCH) / 127.5)),
        sampler=by_fidelity(fidelity, few_step_sigmas(steps, fidelity), sample_inflation=SAMPLE_INFLATION),
        finish=lambda x: x[frame],
        finish_map=lambda x: x[frame],
        found=found,
        effective={"steps": steps},
    )
