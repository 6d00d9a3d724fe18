"""The tasks as methods, written once: what they return, a picture or the promise of one, is the client's business."""

from __future__ import annotations

from typing import Generic, TypeVar, Unpack, cast

from pellucid_client._parameters import (
    CommonOptions,
    DejpegOptions,
    DenoiseOptions,
    LowLightOptions,
    RestoreOptions,
    SuperResolveOptions,
    Task,
)
from pellucid_client._sources import ImageSource, KernelSource, MaskSource

R = TypeVar("R")


class Tasks(Generic[R]):
    """One method a task. Each restores a picture and waits for it.

    All raise
        JobFailedError, JobCanceledError: the job ended without a picture.
        JobTimeoutError: it took longer than `timeout`, and was told to stop.
        APIStatusError: the server refused it; one class a status, see its `code`.
        APIConnectionError: the server could not be reached.
        InvalidInputError, OSError: the picture cannot be sent, or read.
    """

    def restore(self, image: ImageSource, task: Task = "auto", **options: Unpack[RestoreOptions]) -> R:
        """Find out what is wrong with a picture and restore it, or do the named task."""
        return self._restore(image, task, options)

    def denoise(self, image: ImageSource, **options: Unpack[DenoiseOptions]) -> R:
        """Remove noise of known or estimated strength."""
        return self._restore(image, "denoise", options)

    def super_resolve(self, image: ImageSource, **options: Unpack[SuperResolveOptions]) -> R:
        """Enlarge 2, 3, 4 or 8 times."""
        return self._restore(image, "super-resolve", options)

    def low_light_enhance(self, image: ImageSource, **options: Unpack[LowLightOptions]) -> R:
        """Brighten a dark picture and remove the noise that comes to light."""
        return self._restore(image, "low-light-enhance", options)

    def deblur(self, image: ImageSource, kernel: KernelSource, **options: Unpack[DenoiseOptions]) -> R:
        """Undo a known blur.

        Args:
            image: the picture.
            kernel: its point spread function [k, k] with odd k: rows of numbers, an array, or a file of either.
            **options: see `DenoiseOptions`.
        """
        return self._restore(image, "deblur", options, kernel=kernel)

    def inpaint(self, image: ImageSource, mask: MaskSource, **options: Unpack[DenoiseOptions]) -> R:
        """Fill in what a mask marks.

        Args:
            image: the picture.
            mask: a picture of the same size, bright (more than half) where it is to be filled in.
            **options: see `DenoiseOptions`.
        """
        return self._restore(image, "inpaint", options, mask=mask)

    def colorize(self, image: ImageSource, **options: Unpack[DenoiseOptions]) -> R:
        """Give a grey picture colours."""
        return self._restore(image, "colorize", options)

    def dejpeg(self, image: ImageSource, **options: Unpack[DejpegOptions]) -> R:
        """Remove the artefacts of JPEG compression."""
        return self._restore(image, "dejpeg", options)

    def _restore(self, image: ImageSource, task: Task, options: CommonOptions, **inputs: object) -> R:
        return self._perform(image, task, cast(RestoreOptions, {**options, **inputs}))

    def _perform(self, image: ImageSource, task: Task, options: RestoreOptions) -> R:
        raise NotImplementedError
