"""Restorer: a prior, and every task as a method."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from restore.errors import ParameterError
from restore.images import ImageSource, decode
from restore.prior.protocol import Denoiser
from restore.result import Result
from restore.sampling.driver import Progress, run
from restore.sampling.protocol import Problem, RowNoise
from restore.tasks import TASKS
from restore.tasks.parameters import Parameters
from restore.tasks.plan import Plan, Source

OnStep = Callable[[Progress], None]
Cancelled = Callable[[], bool]


class Restorer:
    """Restores pictures with one prior.

    Args:
        denoiser: the prior; pictures of any size are handed to it whole.
    """

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser = denoiser

    @classmethod
    def from_pretrained(cls, prior: str | None = None, *, device: str = "auto", runtime: str = "auto") -> Restorer:
        """Load a registered prior; the embedded one by default.

        Raises:
            UnknownPriorError, CorruptWeightsError, RuntimeUnavailableError: see `restore.errors`.
        """
        from restore.prior import load_prior

        return cls(load_prior(prior, device=device, runtime=runtime))

    def restore(
        self,
        image: ImageSource,
        task: str = "auto",
        *,
        on_step: OnStep | None = None,
        cancelled: Cancelled | None = None,
        **parameters: Any,
    ) -> Result:
        """Restore one picture.

        Args:
            image: path, bytes, binary file, PIL image, HWC array (uint8, uint16 or float in [0, 1]) or NCHW tensor
                in [0, 1].
            task: one of `restore.tasks.TASKS`.
            on_step: called after each denoiser call with a `Progress`; its `x0` is a preview.
            cancelled: asked before each call; True ends the work with `CancelledError`.
            **parameters: fields of `restore.tasks.parameters.Parameters`.

        Raises:
            RestoreError: one of the typed errors of `restore.errors`.
        """
        start = time.perf_counter()
        settings = _parameters(parameters)
        if task not in TASKS:
            raise ParameterError(f"unknown task {task!r}; known: {', '.join(TASKS)}")
        picture = decode(image)
        plan = TASKS[task](Source(**picture.source()), settings, self.denoiser.info)
        counter = _Counter(on_step, settings.samples)
        mean, spread = self._sample(plan, settings, counter, cancelled)
        restored = plan.finish(mean)
        if settings.strength < 1.0:
            given = picture.image if plan.baseline is None else plan.baseline()
            restored = torch.lerp(given, restored, settings.strength)
        report = {
            "task": task,
            "parameters": _described(settings, plan),
            "found": plan.found,
            "seed": settings.seed,
            "nfe": counter.calls,
            "seconds": round(time.perf_counter() - start, 3),
            "prior": self.denoiser.info.name,
            "digest": self.denoiser.info.digest,
            "warnings": [*picture.warnings, *plan.warnings],
        }
        return Result(restored.clamp_(-1.0, 1.0), spread, picture.coloured() if plan.colour else picture, report)

    def _sample(
        self, plan: Plan, settings: Parameters, on_step: OnStep, cancelled: Cancelled | None
    ) -> tuple[Tensor, Tensor | None]:
        """Mean of the samples, and their spread (0-255 scale, averaged over channels) when there are several."""
        mean: Tensor | None = None
        squares: Tensor | None = None
        for index in range(settings.samples):
            problem = Problem(plan.y, plan.degradation, self.denoiser.info, RowNoise(settings.seed, [index]))
            x = run(plan.sampler(problem), self.denoiser, on_step=on_step, cancelled=cancelled)
            if mean is None:
                mean, squares = x, (torch.zeros_like(x) if settings.samples > 1 else None)
                continue
            # Welford 1962: one pass, no cancellation.
            delta = x - mean
            mean = mean + delta / (index + 1)
            squares = squares + delta * (x - mean) if squares is not None else None
        assert mean is not None
        if squares is None:
            return mean, None
        spread = (squares / (settings.samples - 1)).mean(dim=1, keepdim=True).sqrt() * 127.5
        return mean, plan.finish_map(spread)

    def denoise(self, image: ImageSource, **options: Any) -> Result:
        """Remove additive noise; `noise` gives its standard deviation (0-255) or "auto"."""
        return self.restore(image, "denoise", **options)

    def super_resolve(self, image: ImageSource, **options: Any) -> Result:
        """Enlarge by `scale` 2, 3, 4 or 8."""
        return self.restore(image, "super-resolve", **options)

    def low_light_enhance(self, image: ImageSource, **options: Any) -> Result:
        """Brighten a dark picture and remove the noise that comes to light."""
        return self.restore(image, "low-light-enhance", **options)

    def deblur(self, image: ImageSource, **options: Any) -> Result:
        """Undo a blur of known `kernel`."""
        return self.restore(image, "deblur", **options)

    def inpaint(self, image: ImageSource, **options: Any) -> Result:
        """Fill in what `mask` marks."""
        return self.restore(image, "inpaint", **options)

    def colorize(self, image: ImageSource, **options: Any) -> Result:
        """Give a grey picture colours."""
        return self.restore(image, "colorize", **options)

    def dejpeg(self, image: ImageSource, **options: Any) -> Result:
        """Remove JPEG artefacts, consistent with the file's own quantisation."""
        return self.restore(image, "dejpeg", **options)


class _Counter:
    """Counts denoiser calls and reports progress over all samples as one run."""

    def __init__(self, on_step: OnStep | None, samples: int) -> None:
        self.calls, self._on_step, self._samples = 0, on_step, samples

    def __call__(self, progress: Progress) -> None:
        self.calls += 1
        if self._on_step is not None:
            self._on_step(replace(progress, step=self.calls - 1, steps=progress.steps * self._samples))


def _parameters(given: dict[str, Any]) -> Parameters:
    known = {f.name for f in fields(Parameters)}
    unknown = sorted(set(given) - known)
    if unknown:
        raise ParameterError(f"unknown parameter {unknown[0]!r}; known: {', '.join(sorted(known))}")
    try:
        return Parameters(**given)
    except TypeError as error:
        raise ParameterError(str(error)) from error


def _described(settings: Parameters, plan: Plan) -> dict[str, Any]:
    """The effective parameters, JSON-ready: tensors by their shape."""
    described: dict[str, Any] = {}
    for f in fields(settings):
        value = getattr(settings, f.name)
        described[f.name] = list(value.shape) if isinstance(value, Tensor) else value
    described["fidelity"] = settings.effective_fidelity
    return {**described, **plan.effective}
