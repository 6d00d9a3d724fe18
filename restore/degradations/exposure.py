"""Too little light: a normally exposed picture seen through the inverse of a global, monotone brightening curve."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from restore.degradations.base import Degradation, Estimate
from restore.degradations.gain import per_row
from restore.degradations.noise import NoiseModel
from restore.degradations.planes import by_strips
from restore.errors import ParameterError


def linear_light(s: Tensor) -> Tensor:
    """sRGB in [-1, 1] to linear light in [0, 1] (IEC 61966-2-1); the straight part goes on below black."""
    t = (s + 1.0) / 2.0
    return torch.where(t <= 0.04045, t / 12.92, ((t.clamp_min(0.04045) + 0.055) / 1.055) ** 2.4)


def srgb(light: Tensor) -> Tensor:
    """The inverse of `linear_light`; the formula is continued above white."""
    curved = 1.055 * light.clamp_min(0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(light <= 0.0031308, 12.92 * light, curved) * 2.0 - 1.0


class ToneCurve:
    """A strictly increasing curve for each channel, straight between knots.

    Beyond its first and last knot it keeps the value there: a sensor is blind below black and above saturation.

    Args:
        dark: [K] increasing, values of the dark picture, range [-1, 1].
        bright: [3, K] increasing along K, the values that a normal exposure would have had.

    Raises:
        ParameterError: shapes that do not fit, values that are not finite, or knots that do not increase.
    """

    def __init__(self, dark: Tensor, bright: Tensor) -> None:
        if dark.ndim != 1 or len(dark) < 2 or bright.shape != (3, len(dark)):
            raise ParameterError(
                f"a tone curve needs [K] and [3, K] knots, not {tuple(dark.shape)} and {tuple(bright.shape)}"
            )
        if not (torch.isfinite(dark).all() and torch.isfinite(bright).all()):
            raise ParameterError("a tone curve's knots must be finite numbers")
        if not ((dark.diff() > 0).all() and (bright.diff(dim=1) > 0).all()):
            raise ParameterError("a tone curve's knots must increase")
        self.dark, self.bright = dark.float().contiguous(), bright.float().contiguous()

    def brighten(self, y: Tensor) -> Tensor:
        """Dark values [N, 3, H, W] to bright ones."""
        return _each_channel(y, self.dark.expand(3, -1), self.bright)

    def darken(self, x: Tensor) -> Tensor:
        """Bright values [N, 3, H, W] to dark ones: the inverse."""
        return _each_channel(x, self.bright, self.dark.expand(3, -1))


def _each_channel(values: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return torch.stack([_interpolate(values[:, c], x[c].contiguous(), y[c]) for c in range(3)], 1)


def _interpolate(values: Tensor, x: Tensor, y: Tensor) -> Tensor:
    x, y = x.to(values.device), y.to(values.device)
    index = torch.searchsorted(x, values.contiguous(), out_int32=True).clamp(1, len(x) - 1).long()
    left = x[index - 1]
    share = ((values - left) / (x[index] - left)).clamp(0.0, 1.0)
    return torch.lerp(y[index - 1], y[index], share)


class Exposure(Degradation):
    """y = g^-1(x) + n: dark, and noisy in the dark.

    Everything is diagonal. The data step happens in the bright domain: with b = g(y), the measurement there is b with
    the variance of the noise carried through the curve, S = g'(m)^2 Var(n | m), m = g^-1(d) (first-order propagation
    of errors). g' is the slope of the chord over one standard deviation to each side, so that where the curve bends
    within the noise the variance is that of what really comes out.

    Args:
        curve: g, the brightening.
        gain_map: [1, 1, H, W] or [N, 1, H, W], a positive gain in linear light in front of the curve (a fall-off of
            light towards the corners, for example); None for 1.
        noise: of the dark measurement, in its units.

    Raises:
        ParameterError: a gain map that is not positive.
    """

    def __init__(self, curve: ToneCurve, gain_map: Tensor | None = None, noise: NoiseModel | None = None) -> None:
        super().__init__(noise)
        if gain_map is not None and not (torch.isfinite(gain_map).all() and (gain_map > 0).all()):
            raise ParameterError("the gain map of an exposure must be positive everywhere")
        self.curve, self.gain_map = curve, gain_map

    def forward(self, x: Tensor) -> Tensor:
        """The dark picture that a normal exposure x [N, 3, H, W] corresponds to."""
        return self._by_strips(self._darkened, x)

    def brighten(self, y: Tensor) -> Tensor:
        """g(y): the inverse of `forward`."""
        return self._by_strips(self._brightened, y)

    def bright_variance(self, mean: Tensor) -> Tensor:
        """Variance of g(measurement) around g(mean) for a noise-free dark picture `mean`; shaped as `mean`."""
        return self._by_strips(self._carried, mean, per_row(self.noise.variance(mean), mean))

    def bright_level(self, mean: Tensor) -> Tensor:
        """[N, 1, H, W]: the same as a standard deviation, its mean square over the channels."""

        def level(gain: Tensor | None, mean: Tensor, variance: Tensor) -> Tensor:
            return self._carried(gain, mean, variance).mean(dim=1, keepdim=True).sqrt()

        return self._by_strips(level, mean, per_row(self.noise.variance(mean), mean))

    def image_shape(self, y: Tensor) -> tuple[int, int, int, int]:
        """That of y."""
        n, c, h, w = y.shape
        return n, c, h, w

    def initial_estimate(self, y: Tensor) -> Estimate:
        """The brightened measurement and the root mean square of its noise."""
        return Estimate(self.brighten(y), self.bright_variance(y).mean(dim=(1, 2, 3)).sqrt())

    def gain_step(self, d: Tensor, y: Tensor, v: Tensor) -> Tensor:
        """Per pixel, d + v / (v + S) (g(y) - d)."""
        v, dark = v.view(-1, 1, 1, 1), self.forward(d)

        def step(gain: Tensor | None, d: Tensor, y: Tensor, dark: Tensor, variance: Tensor) -> Tensor:
            share = v / (v + self._carried(gain, dark, variance))
            return torch.lerp(d, self._brightened(gain, y), share)

        return self._by_strips(step, d, y, dark, per_row(self.noise.variance(dark), dark))

    def _by_strips(self, function: Callable[..., Tensor], *pictures: Tensor) -> Tensor:
        """`function` of the gain map and of pictures, of some rows at a time: to look up where the values lie between
        knots takes several times their memory."""
        if self.gain_map is None:
            return by_strips(partial(function, None), *pictures)
        return by_strips(function, self.gain_map.to(pictures[0]), *pictures)

    def _darkened(self, gain: Tensor | None, x: Tensor) -> Tensor:
        dark = self.curve.darken(x)
        return dark if gain is None else srgb(linear_light(dark) / gain)

    def _brightened(self, gain: Tensor | None, y: Tensor) -> Tensor:
        return self.curve.brighten(y if gain is None else srgb(linear_light(y) * gain))

    def _carried(self, gain: Tensor | None, mean: Tensor, variance: Tensor) -> Tensor:
        """`variance` around a dark picture, as it is after brightening."""
        reach = variance.sqrt().clamp_min(1.0 / 255.0)  # half an 8-bit step: no finer detail of the curve matters
        low, high = (mean - reach).clamp(-1.0, 1.0), (mean + reach).clamp(-1.0, 1.0)
        slope = (self._brightened(gain, high) - self._brightened(gain, low)) / (high - low).clamp_min(1e-6)
        return slope.square() * variance
