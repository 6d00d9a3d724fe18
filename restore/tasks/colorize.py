"""Colorize: the luma is known, the chroma is not."""

from __future__ import annotations

from restore.degradations import Grey
from restore.degradations.noise import GaussianNoise
from restore.prior.protocol import PriorInfo
from restore.sampling import log_grid
from restore.tasks.parameters import Parameters
from restore.tasks.plan import Plan, Source
from restore.tasks.trust import by_fidelity

STEPS = 16

#: First and last noise level: colour is decided while hardly anything is, so the start is high. From 9 the colours of
#: two photographs came out 1.6 dB closer than from 1, where the prior no longer doubts what it started from.
START, END = 9.0, 0.1


def colorize(source: Source, parameters: Parameters, prior: PriorInfo) -> Plan:
    """The most probable colours for a grey picture; muted, for an average over plausible colours is."""
    level = 0.3 if parameters.noise == "auto" else float(parameters.noise)
    degradation = Grey(GaussianNoise(max(level, 0.3) / 127.5))
    steps = parameters.steps or STEPS
    fidelity = parameters.effective_fidelity
    return Plan(
        y=degradation.forward(source.image),
        degradation=degradation,
        sampler=by_fidelity(fidelity, log_grid(steps, START, END), extrapolation=0.0),
        found={"noise": level},
        effective={"steps": steps},
        colour=True,
    )
