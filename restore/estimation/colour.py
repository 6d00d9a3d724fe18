"""Which colours would a grey photograph probably have had?"""

from __future__ import annotations

from typing import Protocol, cast

from torch import Tensor

from restore.estimation import installed

GROUP = "pellucid.colour"


class ColourEstimator(Protocol):
    """Looks at the luma (BT.601) [1, 1, H, W] of a picture, range [-1, 1], and answers with the mean of the probable
    pictures [1, 3, H, W], whose luma is the given one, and with the standard deviation of colour [1, 1, H, W] in either
    of two orthonormal directions. Bare tensors, so that an estimator need not know this package."""

    def __call__(self, luma: Tensor) -> tuple[Tensor, Tensor]: ...


def installed_colour_estimators() -> tuple[str, ...]:
    """Names that `load_colour_estimator` knows, sorted."""
    return installed.names(GROUP)


def load_colour_estimator(name: str = "default") -> ColourEstimator:
    """The installed estimator of that name (entry points of the group "pellucid.colour").

    Raises:
        ParameterError: no such estimator is installed.
        RuntimeUnavailableError: it needs a module that cannot be imported.
        CorruptWeightsError: its weights are not those that were registered.
    """
    return cast(ColourEstimator, installed.load(GROUP, name, "colour estimator"))
