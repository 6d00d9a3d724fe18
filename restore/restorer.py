"""Restorer: a prior, and every task as a method."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from restore.errors import ParameterError
from restore.images import ImageSource, decode
from restore.prior.protocol import Denoiser
from restore.result import Result
from restore.sampling.driver import Progress, run
from restore.session import Restoration, read_parameters
from restore.tasks import TASKS

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
        settings = read_parameters(parameters)
        if task not in TASKS:
            raise ParameterError(f"unknown task {task!r}; known: {', '.join(TASKS)}")
        restoration = Restoration(decode(image), task, settings, self.denoiser.info)
        mean = run(restoration.sampling(), self.denoiser, on_step=on_step, cancelled=cancelled)
        return restoration.finish(mean, time.perf_counter() - start)

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
