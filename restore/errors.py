"""Every error the core raises on purpose.

    RestoreError
    |-- ImageError                 the picture itself
    |   |-- UndecodableImageError      not an image, truncated, empty
    |   |-- ImageSizeError             no pixels, one pixel wide, or beyond the limits
    |   `-- ImageValueError            NaN, infinity, wrong channel count or type
    |-- ParameterError             a parameter, or two that do not go together (mask size, scale, ...)
    |-- OutputError                the result cannot be written
    |-- PriorError                 the prior
    |   |-- UnknownPriorError
    |   |-- CorruptWeightsError
    |   `-- RuntimeUnavailableError    this machine or runtime cannot do what was asked
    |-- OutOfMemoryError           too little memory, whatever was tried
    |-- NumericalError             the prior or the data step produced NaN or infinity
    `-- CancelledError             the caller asked to stop

Each carries a stable `code`; the message names the offender and says what to do, and is fit for the user's eyes.
"""

from __future__ import annotations

from typing import ClassVar


class RestoreError(Exception):
    """Base of every error raised on purpose."""

    code: ClassVar[str] = "error"


class ImageError(RestoreError, ValueError):
    """Something about the picture."""

    code = "invalid_image"


class UndecodableImageError(ImageError):
    """The bytes are not a complete image of a supported format."""

    code = "undecodable_image"


class ImageSizeError(ImageError):
    """The picture has too few or too many pixels."""

    code = "image_size"


class ImageValueError(ImageError):
    """The picture's values or channels cannot be used."""

    code = "image_values"


class ParameterError(RestoreError, ValueError):
    """A parameter is out of range or does not fit the others."""

    code = "invalid_parameter"


class OutputError(RestoreError, OSError):
    """The result cannot be written."""

    code = "unwritable_output"


class PriorError(RestoreError):
    """Something about the prior."""

    code = "prior"


class UnknownPriorError(PriorError, LookupError):
    """No prior of that name."""

    code = "unknown_prior"


class CorruptWeightsError(PriorError):
    """A weight file is not the one that was registered."""

    code = "corrupt_weights"


class RuntimeUnavailableError(PriorError):
    """This machine or runtime cannot do what was asked."""

    code = "runtime_unavailable"


class OutOfMemoryError(RestoreError, MemoryError):
    """The device has too little memory, even for the least work at a time that was allowed."""

    code = "out_of_memory"


class NumericalError(RestoreError, ArithmeticError):
    """NaN or infinity came out of the prior or the data step."""

    code = "numerical"


class CancelledError(RestoreError):
    """The caller asked to stop."""

    code = "cancelled"
