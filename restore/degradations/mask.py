"""Missing pixels: inpainting."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from restore.degradations.base import Estimate, LinearDegradation
from restore.degradations.gain import noise_diagonal, per_row, row_mean
from restore.degradations.noise import GaussianNoise, NoiseModel
from restore.degradations.planes import LIMIT, by_strips
from restore.degradations.spectral import Spectrum
from restore.errors import ParameterError


class Mask(LinearDegradation):
    """y = m x + n on the known pixels; what a measurement holds elsewhere is ignored.

    Args:
        known: [H, W], [1, 1, H, W] or [N, 1, H, W]; True (or non-zero) where the pixel is KNOWN.
        noise: of the known pixels.

    Raises:
        ParameterError: another shape; or, at use, another size or batch than the picture's.
    """

    def __init__(self, known: Tensor, noise: NoiseModel | None = None) -> None:
        super().__init__(noise)
        shape = tuple(known.shape)
        if not (known.ndim == 2 or (known.ndim == 4 and known.shape[1] == 1)) or known.numel() == 0:
            raise ParameterError(f"the mask must be [H, W] or [N, 1, H, W]; got {list(shape)}")
        self.known = (known != 0).view(-1, 1, *shape[-2:])

    def _fitting(self, x: Tensor) -> Tensor:
        n, _, h, w = self.known.shape
        if (h, w) != tuple(x.shape[-2:]):
            raise ParameterError(
                f"the mask is {w}x{h} pixels, the picture {x.shape[-1]}x{x.shape[-2]}; give a mask of the same size"
            )
        if n not in (1, x.shape[0]):
            raise ParameterError(f"{n} masks were given for {x.shape[0]} pictures; give one, or one a picture")
        return self.known.to(x.device)

    def forward(self, x: Tensor) -> Tensor:
        """x with zeros where it is unknown."""
        return x * self._fitting(x)

    def adjoint(self, y: Tensor) -> Tensor:
        """The same: A is symmetric."""
        return y * self._fitting(y)

    def image_shape(self, y: Tensor) -> tuple[int, int, int, int]:
        """The measurement's own shape."""
        n, c, h, w = y.shape
        return n, c, h, w

    def gain_step(self, d: Tensor, y: Tensor, v: Tensor) -> Tensor:
        """Per known pixel, d + v / (v + S) (y - d)."""
        known, spread = self._fitting(d), per_row(v.to(d), d)
        # Unknown pixels are given a variance, too, which is not used.
        noise = noise_diagonal(self.noise.variance(d), v, 1.0, d)

        def step(d: Tensor, y: Tensor, known: Tensor, noise: Tensor) -> Tensor:
            return torch.lerp(d, y, known * (spread / (spread + noise)))

        return by_strips(step, d, y, known, noise)

    def misfit(self, x: Tensor, y: Tensor) -> Tensor:
        """Of the known pixels; zero elsewhere."""
        return (y - x).mul_(self._fitting(x))

    def solve(self, r: Tensor, noise_variance: Tensor, v: Tensor) -> Tensor:
        """r / (S + v) on the known pixels and zero elsewhere, for any diagonal S."""
        return r * self._fitting(r) / (noise_diagonal(noise_variance, v, 1.0, r) + per_row(v, r))

    def initial_estimate(self, y: Tensor) -> Estimate:
        """Known pixels as they are, holes filled smoothly from around them."""
        known = self._fitting(y).expand(y.shape[0], -1, -1, -1)
        return Estimate(fill_holes(y, known), self.estimate_error(y))

    def estimate_error(self, y: Tensor) -> Tensor:
        """[N]: the noise on known pixels, and on unknown ones the error the filling makes when it is tried out.

        The holes, moved by half the picture, are cut out of the known pixels and filled again. Where that would leave
        fewer than half of the known pixels, one in eight is left out instead if the holes are small (nearly all
        unknown pixels have a known one within two pixels); else a white prior's deviation is assumed.
        """
        known = self._fitting(y).expand(y.shape[0], -1, -1, -1)
        h, w = y.shape[-2:]
        total = known.sum((1, 2, 3))
        moved = known & ~known.roll((h // 2, w // 2), (-2, -1))
        few = torch.rand(1, 1, h, w, generator=torch.Generator().manual_seed(0)).to(y.device) < 0.125
        near = F.max_pool2d(known.to(y.dtype), 5, stride=1, padding=2) > 0
        scattered = (near & ~known).sum((1, 2, 3)) > 0.9 * (~known).sum((1, 2, 3))
        movable = 2 * moved.sum((1, 2, 3)) <= total
        hidden = torch.where(movable.view(-1, 1, 1, 1), moved, known & few)
        filled = fill_holes(y, known & ~hidden)
        miss = filled.sub_(y).square_().mean(1, keepdim=True).mul_(hidden).sum((1, 2, 3))
        count = hidden.sum((1, 2, 3))
        tried = (count > 0) & (movable | scattered)
        hole = torch.where(tried, miss / count.clamp_min(1), self.prior_variance)
        noise = row_mean(self.noise.variance(y)).to(hole)
        share = known.float().mean((1, 2, 3))
        return (share * noise + (1.0 - share) * hole).sqrt().to(torch.float32)

    def halved(self, y: Tensor) -> tuple[Tensor, Mask]:
        """The same at half the size: means of the known ones of 2x2 pixels, known where half of them or more are.

        Args:
            y: [N, C, H, W]; odd sizes are rounded up.

        Returns:
            [N, C, ceil(H / 2), ceil(W / 2)] and its mask, with the noise of a mean over two pixels: where all four
            are known there is less.
        """
        known = self._fitting(y).to(y.dtype)
        count = cells(known)
        mean = cells(y * known) / count.clamp_min(1.0)
        # Of a border cell there may be less than four pixels.
        enough = count >= 0.5 * cells(torch.ones_like(known))
        noise = GaussianNoise((0.5 * row_mean(self.noise.variance(y))).sqrt())
        return mean * enough, Mask(enough, noise)

    def spectrum(self, image_shape: tuple[int, int, int, int]) -> Spectrum:
        """A is diagonal: U = V = I, S = m."""

        def same(x: Tensor) -> Tensor:
            return x

        def zeroed(x: Tensor) -> Tensor:
            return x * self._fitting(x)

        return Spectrum(self.known.float(), same, same, zeroed, zeroed)


def cells(x: Tensor) -> Tensor:
    """Sums of 2x2 pixels: [N, C, H, W] -> [N, C, ceil(H / 2), ceil(W / 2)]; beyond the border there is zero."""
    h, w = x.shape[-2:]
    return F.avg_pool2d(F.pad(x, (0, w % 2, 0, h % 2)), 2) * 4.0


def fill_holes(y: Tensor, known: Tensor) -> Tensor:
    """Known pixels kept, the others interpolated: averages of known pixels on ever coarser grids fill what the finer
    ones leave open (the pull-push algorithm, Gortler et al. 1996, section 3.4).

    Args:
        y: [N, C, H, W].
        known: [N, 1, H, W] bool; where none is known, the picture is zero (grey).
    """
    if y.numel() <= LIMIT:
        return _fill(y, known.to(y.dtype))
    out = torch.empty_like(y)
    for n in range(y.shape[0]):
        weight = known[n : n + 1].to(y.dtype)
        for c in range(y.shape[1]):
            out[n, c] = _fill(y[n : n + 1, c : c + 1], weight)[0, 0]
    return out


def _fill(values: Tensor, weight: Tensor) -> Tensor:
    h, w = values.shape[-2:]
    if h == 1 and w == 1:
        return values * (weight > 0)

    total = cells(weight)
    coarse = _fill(cells(values * weight) / total.clamp_min(1e-6), total.clamp_max(1.0))
    size = (h + h % 2, w + w % 2)
    smooth = F.interpolate(coarse, size=size, mode="bilinear", align_corners=False)[..., :h, :w]
    return weight * values + (1.0 - weight) * smooth
