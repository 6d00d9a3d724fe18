"""Inpaint: some pixels are known exactly, the others not at all."""

from __future__ import annotations

from restore.degradations import Mask
from restore.degradations.noise import GaussianNoise
from restore.errors import ParameterError
from restore.prior.protocol import PriorInfo
from restore.sampling import few_step_sigmas
from restore.tasks.parameters import Parameters
from restore.tasks.plan import Plan, Source
from restore.tasks.trust import by_fidelity

#: Holes need steps (design notes 4.2, lesson v).
STEPS = 24


def inpaint(source: Source, parameters: Parameters, prior: PriorInfo) -> Plan:
    """Fill in what the mask marks; everything else stays exactly as it was, unless `noise` is given."""
    mask = parameters.mask
    if mask is None:
        raise ParameterError("inpaint needs a mask: [H, W], non-zero where the picture is to be filled in")
    height, width = source.image.shape[-2:]
    if tuple(mask.shape[-2:]) != (height, width):
        raise ParameterError(
            f"the mask is {mask.shape[-1]}x{mask.shape[-2]} pixels, the picture {width}x{height}; "
            "give a mask of the same size"
        )
    known = mask.reshape(1, 1, height, width) == 0
    if not bool(known.any()):
        raise ParameterError("the mask covers the whole picture: nothing is left to restore from")
    level = 0.0 if parameters.noise == "auto" else float(parameters.noise)
    steps = parameters.steps or STEPS
    fidelity = parameters.effective_fidelity
    return Plan(
        y=source.image * known,
        degradation=Mask(known, GaussianNoise(level / 127.5)),
        sampler=by_fidelity(fidelity, few_step_sigmas(steps, fidelity, start=1.0)),
        found={"noise": level, "filled": round(1.0 - known.float().mean().item(), 4)},
        effective={"steps": steps},
    )
