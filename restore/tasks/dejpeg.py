"""Dejpeg: the picture was compressed; the file's own quantisation says exactly what was lost."""

from __future__ import annotations

from functools import partial

from restore.degradations.jpeg import JPEG, standard_tables
from restore.errors import ParameterError
from restore.estimation import estimate_quality
from restore.prior.protocol import PriorInfo
from restore.sampling import log_grid, unified
from restore.tasks.parameters import Parameters
from restore.tasks.plan import Plan, Source

STEPS = 4


def dejpeg(source: Source, parameters: Parameters, prior: PriorInfo) -> Plan:
    """Restore within the quantisation cells: of the file's own tables, a given quality, or one estimated from the
    pixels, in that order of trust."""
    warnings: tuple[str, ...] = ()
    if parameters.quality != "auto":
        tables, subsampling = standard_tables(int(parameters.quality)), source.subsampling
        found = {"quality": int(parameters.quality), "quality_source": "given"}
    elif source.quantisation is not None:
        tables, subsampling = source.quantisation, source.subsampling
        found = {"quality": estimate_quality(source.image, tables), "quality_source": "the file's tables"}
    else:
        quality = estimate_quality(source.image)
        if quality is None:
            raise ParameterError(
                "the picture shows no trace of JPEG compression; if it was compressed, say quality=1..100"
            )
        tables, subsampling = standard_tables(quality), (1, 1)
        found = {"quality": quality, "quality_source": "estimated from the pixels"}
        warnings = ("the JPEG quality was estimated from the pixels; the file itself would tell it exactly",)
    degradation = JPEG(tables, subsampling)
    steps = parameters.steps or STEPS
    fidelity = parameters.effective_fidelity
    start = float(degradation.initial_estimate(source.image).sigma.max())
    return Plan(
        y=source.image,
        degradation=degradation,
        sampler=partial(unified, sigmas=log_grid(steps, max(start, 0.03), 0.02), fidelity=fidelity),
        found=found,
        warnings=warnings,
        effective={"steps": steps},
    )
