"""One restoration step by step: planned, sampled by whoever answers its denoiser calls, finished."""

from __future__ import annotations

from dataclasses import fields
from functools import partial
from typing import Any

import torch
from torch import Tensor

from restore.degradations.kernels import as_kernel
from restore.errors import ParameterError
from restore.images import Picture
from restore.moments import Moments
from restore.prior.protocol import PriorInfo
from restore.result import Result
from restore.sampling.calls import passed_on
from restore.sampling.protocol import DenoiserCall, Problem, RowNoise, Sampling
from restore.tasks import TASKS
from restore.tasks.masks import as_mask
from restore.tasks.parameters import Parameters
from restore.tasks.plan import Source


class Restoration:
    """A picture, how it will be restored, and what came of it.

        restoration = Restoration(decode(file), "denoise", read_parameters({"noise": 25.0}), denoiser.info)
        result = restoration.finish(run(restoration.sampling(), denoiser))

    Making one estimates what the task needs to know (noise, exposure, ...) and takes time; no call of the prior is
    made. The three parts may run in different threads, one after the other.

    Args:
        picture: what is to be restored.
        task: one of `restore.tasks.TASKS`.
        settings: the user's parameters.
        prior: facts of the prior that will answer.

    Raises:
        RestoreError: an unknown task, parameters that do not fit the task or the picture.
    """

    def __init__(self, picture: Picture, task: str, settings: Parameters, prior: PriorInfo) -> None:
        if task not in TASKS:
            raise ParameterError(f"unknown task {task!r}; known: {', '.join(TASKS)}")
        self.picture, self.task, self.settings, self.prior = picture, task, settings, prior
        self.plan = TASKS[task](Source(**picture.source()), settings, prior)
        self.calls = 0
        self._moments = Moments()
        self._assumed: list[str] = []

    def sampling(self) -> Sampling:
        """The denoiser calls of all samples, one sample after the other, counted as one run; returns their mean.

        May be called again to start anew: the same calls follow, and the earlier generator must not be used any more.
        """
        self.calls, self._moments, self._assumed = 0, Moments(), []
        for index in range(self.settings.samples):
            noise = RowNoise(self.settings.seed, [index])
            problem = Problem(self.plan.y, self.plan.degradation, self.prior, noise, self._assumed)
            self._moments.add((yield from passed_on(self.plan.sampler(problem), partial(self._counted, index))))
        return self._moments.mean

    def _counted(self, sample: int, call: DenoiserCall) -> DenoiserCall:
        count = self.settings.samples
        numbered = call.within(sample / count, (sample + 1) / count, self.calls, call.steps * count)
        self.calls += 1
        return numbered

    def residual(self, mean: Tensor) -> float:
        """Root mean square of y - A(x) on the 0-255 scale: about the noise level when the prior and the degradation
        are right.

        Args:
            mean: what `sampling` returned.
        """
        misfit = self.plan.degradation.misfit(mean, self.plan.y)
        return float(misfit.square_().mean().sqrt()) * 127.5

    def finish(self, mean: Tensor, seconds: float = 0.0) -> Result:
        """The restored picture and its report.

        Args:
            mean: what `sampling` returned.
            seconds: to be reported.
        """
        plan, settings = self.plan, self.settings
        spread, variance = None, self._moments.variance()
        if variance is not None:
            spread = plan.finish_map(variance.mean(dim=1, keepdim=True).sqrt() * 127.5)
        restored = plan.finish(mean)
        if settings.strength < 1.0:
            given = self.picture.image if plan.baseline is None else plan.baseline()
            restored = torch.lerp(given, restored, settings.strength)
        warnings = [*self.picture.warnings, *plan.warnings, *self._assumed]
        report = describe(
            self.task, settings, self.prior, self.calls, seconds,
            found=plan.found, effective=plan.effective, warnings=warnings,
        )  # fmt: skip
        picture = self.picture.coloured() if plan.colour else self.picture
        return Result(restored.clamp_(-1.0, 1.0), spread, picture, report)


def read_parameters(given: dict[str, Any]) -> Parameters:
    """`Parameters` from its fields by name; a mask as `as_mask` takes it, a kernel as `as_kernel` does.

    Raises:
        ParameterError: an unknown name, or a value that is not allowed.
        ImageError: a mask that is no picture.
    """
    known = {f.name for f in fields(Parameters)}
    unknown = sorted(set(given) - known)
    if unknown:
        raise ParameterError(f"unknown parameter {unknown[0]!r}; known: {', '.join(sorted(known))}")
    readers = {"mask": as_mask, "kernel": as_kernel}
    read = {name: readers[name](given[name]) for name in readers if given.get(name) is not None}
    try:
        return Parameters(**given | read)
    except TypeError as error:
        raise ParameterError(str(error)) from error


def describe(
    task: str,
    settings: Parameters,
    prior: PriorInfo,
    calls: int,
    seconds: float,
    *,
    found: dict[str, Any],
    effective: dict[str, Any],
    warnings: list[str],
) -> dict[str, Any]:
    """The report of a restoration, see `restore.result.Result`."""
    return {
        "task": task,
        "parameters": _described(settings, effective),
        "found": found,
        "seed": settings.seed,
        "nfe": calls,
        "seconds": round(seconds, 3),
        "prior": prior.name,
        "digest": prior.digest,
        "runtime": prior.runtime,
        "warnings": warnings,
    }


def _described(settings: Parameters, effective: dict[str, Any]) -> dict[str, Any]:
    """The effective parameters, JSON-ready: tensors by their shape."""
    described: dict[str, Any] = {}
    for f in fields(settings):
        value = getattr(settings, f.name)
        described[f.name] = list(value.shape) if isinstance(value, Tensor) else value
    described["fidelity"] = settings.effective_fidelity
    return {**described, **effective}
