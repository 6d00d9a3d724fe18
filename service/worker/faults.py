"""What went wrong in a worker, in three kinds that are never mixed, and in words for the job."""

from __future__ import annotations

from enum import Enum

import torch

from restore import errors
from restore.prior.memory import is_out_of_memory
from service.problems import Code


class Fault(Enum):
    """Of a device, while it answered a denoiser call."""

    MEMORY = "out of memory"  # less at a time may do
    FATAL = "fatal"  # the process is poisoned: whatever it computes from now on may be wrong
    OTHER = "other"  # this call's own


_FATAL = (
    "cuda error",
    "cuda failure",
    "device-side assert",
    "illegal memory access",
    "illegal instruction",
    "misaligned address",
    "unspecified launch failure",
    "uncorrectable ecc",
    "cudnn_status_execution_failed",
    "cublas_status_execution_failed",
    "device kernel image is invalid",
    "hip error",
)


def classify(error: BaseException) -> Fault:
    """The kind of an exception that came out of a denoiser, whatever runtime it ran on.

    What the core raises on purpose is judged by what caused it: its words may quote a request's.
    """
    if isinstance(error, errors.RestoreError):
        return Fault.OTHER if error.__cause__ is None else classify(error.__cause__)
    text = str(error).lower()
    if is_out_of_memory(error):
        return Fault.MEMORY
    accelerator = getattr(torch, "AcceleratorError", None)
    if (accelerator is not None and isinstance(error, accelerator)) or any(mark in text for mark in _FATAL):
        return Fault.FATAL
    return Fault.OTHER


_CODES: tuple[tuple[type[Exception], Code], ...] = (
    (errors.UndecodableImageError, Code.UNDECODABLE_IMAGE),
    (errors.ImageSizeError, Code.IMAGE_SIZE),
    (errors.ImageValueError, Code.IMAGE_VALUES),
    (errors.ParameterError, Code.INVALID_PARAMETER),
    (errors.OutputError, Code.INVALID_PARAMETER),  # such as a picture too large for the format asked for
    (errors.UnknownPriorError, Code.UNKNOWN_PRIOR),
    (errors.NumericalError, Code.NUMERICAL),
    (errors.OutOfMemoryError, Code.OUT_OF_MEMORY),
)


def failure(error: Exception) -> tuple[Code, str]:
    """Code and public message for a job that ends with an exception."""
    for kind, code in _CODES:
        if isinstance(error, kind):
            return code, str(error)
    if classify(error) is Fault.MEMORY:
        return Code.OUT_OF_MEMORY, "the device has too little memory for this picture; give a smaller one"
    if isinstance(error, errors.PriorError):
        return Code.INTERNAL, "the prior cannot be used on this server; its log says why"
    return Code.INTERNAL, "the restoration failed for a reason of the server's own; its log says more"
