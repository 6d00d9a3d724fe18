"""Which tone curve and white balance would a normal exposure have had?"""

from __future__ import annotations

from typing import Protocol, cast

import torch
from torch import Tensor

from restore.degradations.exposure import ToneCurve, linear_light, srgb
from restore.estimation import installed

GROUP = "pellucid.exposure"

#: Rec. ITU-R BT.709, item 3.2.
LUMA = (0.2126, 0.7152, 0.0722)

#: Middle grey, the key that a scene's log-average luminance is brought to (Reinhard et al. 2002, eq. 2).
KEY = 0.18

#: Knots of a sampled curve, dense near black.
KNOTS = 1025


class ExposureEstimator(Protocol):
    """Looks at a dark picture [1, 3, H, W] in [-1, 1] and answers with the knots of the curve that brightens it:
    dark [K] and bright [3, K], both increasing, range [-1, 1]. Bare tensors, so that an estimator need not know this
    package."""

    def __call__(self, image: Tensor) -> tuple[Tensor, Tensor]: ...


def installed_estimators() -> tuple[str, ...]:
    """Names that `load_exposure_estimator` knows, sorted."""
    return tuple(sorted({"classical", *installed.names(GROUP)}))


def load_exposure_estimator(name: str = "default") -> ExposureEstimator:
    """The installed estimator of that name (entry points of the group "pellucid.exposure"), or "classical".

    Raises:
        ParameterError: no such estimator is installed.
        RuntimeUnavailableError: it needs a module that cannot be imported.
        CorruptWeightsError: its weights are not those that were registered.
    """
    if name == "classical":
        return reinhard
    return cast(ExposureEstimator, installed.load(GROUP, name, "exposure estimator", ("classical",)))


def estimate_exposure(image: Tensor, estimator: ExposureEstimator | None = None) -> ToneCurve:
    """The curve that gives a dark picture [1, 3, H, W] the look of a normal exposure.

    Args:
        image: sRGB, range [-1, 1].
        estimator: None for the installed default.
    """
    dark, bright = (estimator or load_exposure_estimator())(image)
    return increasing(dark, bright)


def stops_curve(stops: float, white: float = 1.0) -> ToneCurve:
    """A gain of 2^stops in linear light whose highlights roll off: Reinhard et al. 2002, "Photographic tone
    reproduction for digital images", eq. 4, L (1 + L / w^2) / (1 + L), where w, the value that becomes white, is the
    gain times `white`.

    Args:
        stops: of brightening; with a negative number the picture is darkened, without a roll-off.
        white: linear light of the dark picture, in [0, 1], that is to become white.
    """
    return increasing(*_roll_off(2.0**stops, white))


def reinhard(image: Tensor) -> tuple[Tensor, Tensor]:
    """The classical estimator, without weights: the log-average luminance becomes middle grey, and the 99.9 %
    quantile of luminance white (Reinhard et al. 2002, eqs. 1, 2 and 4). It leaves the white balance alone."""
    weights = torch.tensor(LUMA, device=image.device).view(1, 3, 1, 1)
    luminance = (linear_light(image.clamp(-1.0, 1.0)) * weights).sum(1).flatten()
    luminance = luminance[:: max(1, len(luminance) // 1_000_000)]
    average = (luminance + 1e-4).log().mean().exp().item()
    white = float(torch.quantile(luminance, 0.999))
    return _roll_off(max(KEY / average, 1.0), max(white, average))


def _roll_off(gain: float, white: float) -> tuple[Tensor, Tensor]:
    dark = torch.linspace(0.0, 1.0, KNOTS, dtype=torch.float64).square() * 2.0 - 1.0
    light = linear_light(dark) * gain
    w = max(gain * white, 1.0)
    # At w = 1 the operator is the identity.
    bright = srgb(light * (1.0 + light / (w * w)) / (1.0 + light) if gain > 1.0 else light)
    return dark.float(), bright.float().clamp(max=1.0).expand(3, -1)


def increasing(dark: Tensor, bright: Tensor) -> ToneCurve:
    """A `ToneCurve` of knots that may be flat somewhere: every step rises by at least 1e-3 of the dark one, and at
    least by what float32 can tell apart."""
    steps = torch.maximum(bright.double().diff(dim=1), (1e-3 * dark.double().diff()).clamp_min(1e-6))
    risen = bright[:, :1].double() + torch.cumsum(steps, dim=1)
    return ToneCurve(dark, torch.cat([bright[:, :1].double(), risen], dim=1).float())
