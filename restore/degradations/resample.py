"""Down-sampling by an integer factor: block averages, MATLAB's antialiased bicubic, and plain decimation."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from restore.degradations.base import LinearDegradation
from restore.degradations.conjugate_gradient import solve_gain
from restore.degradations.cosine_form import CosineForm, cosine_solve, frequency_response
from restore.degradations.cubic import DENSE_LIMIT, by_bases, dense_axis, expand, gram_axis, reduce, response
from restore.degradations.gain import noise_diagonal, per_row, posterior_rms, row_mean
from restore.degradations.noise import NoiseModel
from restore.degradations.planes import by_planes
from restore.degradations.spectral import Spectrum, kronecker_spectrum
from restore.errors import ParameterError


class Downsampling(LinearDegradation):
    """What the three have in common: the sizes. H x W pictures give ceil(H / s) x ceil(W / s) measurements.

    Args:
        scale: s, a positive integer.
        size: (H, W) of the pictures; by default the measurement's size times s.
        noise: of the measurement.

    Raises:
        ParameterError: a scale that is not a positive integer; or, at use, a picture of another size.
    """

    def __init__(self, scale: int, size: tuple[int, int] | None = None, noise: NoiseModel | None = None) -> None:
        super().__init__(noise)
        if isinstance(scale, bool) or int(scale) != scale or scale < 1:
            raise ParameterError(f"the scale must be a positive whole number; got {scale!r}")
        self.scale = int(scale)
        self.size = (int(size[0]), int(size[1])) if size is not None else None
        if self.size is not None and min(self.size) < 1:
            raise ParameterError(f"the picture's size must be positive; got {self.size[1]}x{self.size[0]}")

    def _reduced(self, length: int) -> int:
        return -(-length // self.scale)

    def image_shape(self, y: Tensor) -> tuple[int, int, int, int]:
        """Shape of the picture: `size` where it was given, else the measurement's times the scale."""
        n, c, h, w = y.shape
        if self.size is None:
            return n, c, h * self.scale, w * self.scale
        if (h, w) != (self._reduced(self.size[0]), self._reduced(self.size[1])):
            raise ParameterError(
                f"a picture of {self.size[1]}x{self.size[0]} reduced {self.scale} times has "
                f"{self._reduced(self.size[1])}x{self._reduced(self.size[0])} pixels; the measurement has {w}x{h}"
            )
        return n, c, *self.size

    def _check(self, x: Tensor) -> None:
        h, w = x.shape[-2:]
        if self.size is not None and (h, w) != self.size:
            raise ParameterError(f"expected a picture of {self.size[1]}x{self.size[0]}, got {w}x{h}")
        if self.size is None and (h % self.scale or w % self.scale):
            raise ParameterError(
                f"a picture of {w}x{h} is not divisible by {self.scale}; give its size: "
                f"{type(self).__name__}({self.scale}, size=({h}, {w}))"
            )


class AveragePool(Downsampling):
    """Averages of s x s blocks; the last block of a row or column may be smaller.

    Args:
        scale: s.
        size: (H, W) of the pictures; by default the measurement's size times s.
        noise: of the measurement.
    """

    def _counts(self, height: int, width: int) -> Tensor:
        """[h, w], pixels in each block."""
        rows = torch.full((self._reduced(height),), float(self.scale))
        rows[-1] = height - self.scale * (len(rows) - 1)
        columns = torch.full((self._reduced(width),), float(self.scale))
        columns[-1] = width - self.scale * (len(columns) - 1)
        return torch.outer(rows, columns)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C, h, w]."""
        self._check(x)
        return F.avg_pool2d(x, self.scale, ceil_mode=True, count_include_pad=False)

    def adjoint(self, y: Tensor) -> Tensor:
        """Each average, divided by its block's size, repeated over the block."""
        _, _, height, width = self.image_shape(y)
        shared = y / self._counts(height, width).to(y)
        s = self.scale
        blocks = shared[..., :, None, :, None].expand(*y.shape[:2], y.shape[2], s, y.shape[3], s)
        return blocks.flatten(-2).flatten(-3, -2)[..., :height, :width]

    def solve(self, r: Tensor, noise_variance: Tensor, v: Tensor) -> Tensor:
        """r / (S + v / block size), for any diagonal S: blocks do not overlap."""
        _, _, height, width = self.image_shape(r)
        gram = 1.0 / self._counts(height, width).to(r)
        return r / (noise_diagonal(noise_variance, v, float(gram.max()), r) + per_row(v, r) * gram)

    def estimate_error(self, y: Tensor) -> Tensor:
        """[N], under the white prior."""
        _, _, height, width = self.image_shape(y)
        gram = 1.0 / self._counts(height, width).to(y.device)
        return posterior_rms(gram, height * width, self.noise.variance(y), self.prior_variance)

    def cosine_form(self, image_shape: tuple[int, int, int, int]) -> CosineForm | None:
        """Exists where both sides are divisible by the scale."""
        _, _, height, width = image_shape
        if height % self.scale or width % self.scale:
            return None
        s = self.scale
        distances = [j - (s - 1) / 2 for j in range(s)]
        rows, columns = (frequency_response(distances, [1.0 / s] * s, n) for n in (height, width))
        return CosineForm(torch.outer(rows, columns).float(), s)

    def spectrum(self, image_shape: tuple[int, int, int, int]) -> Spectrum:
        """One reflection per block turns its constant into the block's first coefficient (Householder 1958)."""
        _, _, height, width = image_shape
        s = self.scale

        def first_is_mean(t: Tensor, dim: int) -> Tensor:
            """Along one axis, orthogonal and symmetric: block x -> (sum x / sqrt(L), ...)."""
            t = t.transpose(dim, -1)
            whole = t.shape[-1] // s * s
            parts = []
            for part, length in ((t[..., :whole], s), (t[..., whole:], t.shape[-1] - whole)):
                if part.shape[-1] and length > 1:
                    normal = torch.full((length,), length**-0.5, dtype=torch.float64)
                    normal[0] -= 1.0
                    normal = (normal / normal.norm()).to(t)
                    blocks = part.reshape(*part.shape[:-1], -1, length)
                    blocks = blocks - 2.0 * (blocks * normal).sum(-1, keepdim=True) * normal
                    part = blocks.flatten(-2)
                parts.append(part)
            return torch.cat(parts, -1).transpose(dim, -1)

        def turn(x: Tensor) -> Tensor:
            return first_is_mean(first_is_mean(x, -1), -2)

        def to_u(y: Tensor) -> Tensor:
            out = y.new_zeros(*y.shape[:2], height, width)
            out[..., ::s, ::s] = y
            return out

        singular = torch.zeros(1, 1, height, width)
        singular[0, 0, ::s, ::s] = self._counts(height, width).rsqrt()
        return Spectrum(singular, turn, turn, to_u, lambda c: c[..., ::s, ::s])


class Decimation(Downsampling):
    """Every s-th pixel, beginning with the first, without a filter: what follows a blur in the classical model of
    super-resolution, `Decimation(s) @ Blur(kernel)`.

    Args:
        scale: s.
        size: (H, W) of the pictures; by default the measurement's size times s.
        noise: of the measurement.
    """

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C, h, w]."""
        self._check(x)
        return x[..., :: self.scale, :: self.scale]

    def adjoint(self, y: Tensor) -> Tensor:
        """Zeros between the samples."""
        out = y.new_zeros(self.image_shape(y))
        out[..., :: self.scale, :: self.scale] = y
        return out

    def solve(self, r: Tensor, noise_variance: Tensor, v: Tensor) -> Tensor:
        """r / (S + v), for any diagonal S."""
        return r / (noise_diagonal(noise_variance, v, 1.0, r) + per_row(v, r))

    def estimate_error(self, y: Tensor) -> Tensor:
        """[N], under the white prior."""
        _, _, height, width = self.image_shape(y)
        gram = torch.ones(y.shape[-2:], device=y.device)
        return posterior_rms(gram, height * width, self.noise.variance(y), self.prior_variance)

    def spectrum(self, image_shape: tuple[int, int, int, int]) -> Spectrum:
        """A picks coordinates: V = I."""
        _, _, height, width = image_shape
        s = self.scale

        def same(x: Tensor) -> Tensor:
            return x

        def to_u(y: Tensor) -> Tensor:
            out = y.new_zeros(*y.shape[:2], height, width)
            out[..., ::s, ::s] = y
            return out

        singular = torch.zeros(1, 1, height, width)
        singular[..., ::s, ::s] = 1.0
        return Spectrum(singular, same, same, to_u, lambda c: c[..., ::s, ::s])


class Bicubic(Downsampling):
    """MATLAB's `imresize(x, 1 / s)`: the cubic kernel stretched s times (antialiasing), samples at block centres,
    half-sample symmetric borders.

    A = A_H (x) A_W, so the gain solve needs the eigenvectors of two small Gram matrices A_H A_H^T and A_W A_W^T. Where
    s divides the side they are cosines (see `cosine_form`) and the solve is two fast transforms; where it does not,
    they are computed, up to `DENSE_LIMIT` samples, and beyond that conjugate gradients take over. Either way `forward`
    and the time of a solve are linear in the number of pixels (but for the transform's logarithm).

    Args:
        scale: s.
        size: (H, W) of the pictures; by default the measurement's size times s.
        noise: of the measurement.
    """

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C, ceil(H / s), ceil(W / s)]."""
        self._check(x)
        return by_planes(lambda plane: reduce(reduce(plane, -2, self.scale), -1, self.scale), x)

    def adjoint(self, y: Tensor) -> Tensor:
        """[N, C, h, w] -> [N, C, H, W]."""
        _, _, height, width = self.image_shape(y)
        return by_planes(lambda p: expand(expand(p, -1, self.scale, width), -2, self.scale, height), y)

    def _axes(self, y: Tensor) -> tuple[tuple[Tensor, Tensor | None, bool], tuple[Tensor, Tensor | None, bool]]:
        _, _, height, width = self.image_shape(y)
        return gram_axis(height, self.scale), gram_axis(width, self.scale)

    def solve(self, r: Tensor, noise_variance: Tensor, v: Tensor) -> Tensor:
        """Exact for one noise variance a row; conjugate gradients for a variance per value."""
        (eh, bh, exact_h), (ew, bw, exact_w) = self._axes(r)
        gram = torch.outer(eh, ew)
        largest = float(gram.max())

        def closed(b: Tensor, s: Tensor) -> Tensor:
            if bh is None and bw is None:
                return cosine_solve(b, gram, s, v)
            return by_bases(b, bh, bw, gram, s, v)

        if exact_h and exact_w and noise_variance.ndim == 1:
            return closed(r, noise_diagonal(noise_variance, v, largest, r))
        return solve_gain(
            self.gram,
            r,
            noise_variance,
            v,
            largest=1.1 * largest,
            precondition=lambda b, s: closed(b, row_mean(s)),
        )

    def estimate_error(self, y: Tensor) -> Tensor:
        """[N], under the white prior."""
        _, _, height, width = self.image_shape(y)
        (eh, _, _), (ew, _, _) = self._axes(y)
        gram = torch.outer(eh, ew).float()
        error = posterior_rms(gram, height * width, self.noise.variance(y), self.prior_variance)
        return error.to(y.device)

    def cosine_form(self, image_shape: tuple[int, int, int, int]) -> CosineForm | None:
        """Exists where both sides are divisible by the scale."""
        _, _, height, width = image_shape
        if height % self.scale or width % self.scale:
            return None
        return CosineForm(torch.outer(*(response(n, self.scale) for n in (height, width))).float(), self.scale)

    def spectrum(self, image_shape: tuple[int, int, int, int]) -> Spectrum:
        """From the cosine form; else two dense decompositions, O(H^3 + W^3), up to twice `DENSE_LIMIT` a side."""
        form = self.cosine_form(image_shape)
        if form is not None:
            return form.spectrum()
        height, width = image_shape[2:]
        if max(height, width) > 2 * DENSE_LIMIT:
            return super().spectrum(image_shape)
        return kronecker_spectrum(dense_axis(height, self.scale), dense_axis(width, self.scale))
