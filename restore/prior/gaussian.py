"""The exact denoiser of a Gaussian prior: the oracle that samplers and data steps are tested against."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from restore.errors import ParameterError
from restore.prior.protocol import ErrorTable, PriorInfo


def power_law_spectrum(height: int, width: int, exponent: float = 2.0, variance: float = 0.25) -> Tensor:
    """Stationary power spectrum [height, width], float64, falling as |frequency|^-exponent like that of photographs.

    Entries are the variances of the orthonormal DFT coefficients; their mean is `variance`, a pixel's variance. The
    exponent 2 is that of natural images (Field 1987); the zero frequency gets the value of the lowest other one.
    """
    fy = torch.fft.fftfreq(height, dtype=torch.float64)[:, None]
    fx = torch.fft.fftfreq(width, dtype=torch.float64)[None, :]
    radius = (fy.square() + fx.square()).sqrt().clamp(min=1.0 / max(height, width))
    power: Tensor = radius**-exponent
    return power * (variance / power.mean().item())


def operator_matrix(forward: Callable[[Tensor], Tensor], shape: tuple[int, int, int]) -> Tensor:
    """Dense matrix [m, d] float64 of a linear `forward`, found by feeding it the d = C H W unit pictures.

    Args:
        forward: takes [N, C, H, W] float32, returns [N, ...].
        shape: (C, H, W); tiny.
    """
    d = math.prod(shape)
    columns = forward(torch.eye(d).view(d, *shape)).reshape(d, -1)
    return columns.T.to(torch.float64)


def gaussian_posterior(
    mean: Tensor, covariance: Tensor, matrix: Tensor, y: Tensor, noise_variance: float | Tensor
) -> tuple[Tensor, Tensor]:
    """Mean [N, d] and covariance [d, d] of x given y = A x + n, x ~ N(mean, C), n ~ N(0, S), all float64.

    With K = C A^T (A C A^T + S)^-1: mean + K (y - A mean) and C - K A C (Rasmussen and Williams 2006, eq. A.6).

    Args:
        mean: [d].
        covariance: C, [d, d].
        matrix: A, [m, d].
        y: [N, m], or [m] for one measurement (then N is 1).
        noise_variance: a number, or S's diagonal [m].
    """
    mean, covariance, matrix, y = (t.to("cpu", torch.float64) for t in (mean, covariance, matrix, y))
    noise = torch.as_tensor(noise_variance, dtype=torch.float64).expand(matrix.shape[0])
    cross = covariance @ matrix.T
    innovation = matrix @ cross + torch.diag(noise)
    gain = torch.linalg.solve(innovation, cross.T).T
    residual = y.reshape(-1, matrix.shape[0]) - matrix @ mean
    return mean + residual @ gain.T, covariance - gain @ cross.T


class GaussianDenoiser:
    """D(x, sigma) = mean + C (C + sigma^2 I)^-1 (x - mean): exact when pictures are drawn from N(mean, C).

    Computed in float64 whatever the input, differentiable, for tiny pictures of one size.

    Args:
        mean: [C, H, W].
        covariance: [d, d], d = C H W, symmetric positive semi-definite; or
        spectrum: [H, W] or [C, H, W], variances of the orthonormal 2-D DFT coefficients of a stationary prior with
            independent channels; symmetric under negated frequencies. Exactly one of the two is given.
        name: reported in `info`.

    Raises:
        ParameterError: both or neither of covariance and spectrum, a wrong shape, or an asymmetric or negative one.
    """

    def __init__(
        self, mean: Tensor, covariance: Tensor | None = None, *, spectrum: Tensor | None = None, name: str = "gaussian"
    ) -> None:
        if mean.ndim != 3:
            raise ParameterError(f"the mean must be [C, H, W], not of shape {tuple(mean.shape)}")
        if (covariance is None) == (spectrum is None):
            raise ParameterError("give either a covariance or a spectrum")
        self.mean = mean.detach().to("cpu", torch.float64)
        channels, height, width = mean.shape
        self._basis: Tensor | None = None
        if covariance is not None:
            d = mean.numel()
            dense = covariance.detach().to("cpu", torch.float64)
            if dense.shape != (d, d) or not torch.allclose(dense, dense.T):
                raise ParameterError(f"the covariance must be a symmetric [{d}, {d}], not {tuple(dense.shape)}")
            power, self._basis = torch.linalg.eigh(dense)
        else:
            assert spectrum is not None
            if spectrum.shape not in ((height, width), (channels, height, width)):
                raise ParameterError(f"the spectrum must be [H, W] or [C, H, W] of {tuple(mean.shape)}")
            power = spectrum.detach().to("cpu", torch.float64).expand(channels, height, width).contiguous()
            if not torch.allclose(power, power.flip(1, 2).roll((1, 1), (1, 2))):
                raise ParameterError("the spectrum must be symmetric under negated frequencies")
        if power.min() < -1e-9 * power.abs().max():
            raise ParameterError("the covariance has negative eigenvalues")
        self._power = power.clamp(min=0.0)
        grid = torch.logspace(-3, 3, 121, dtype=torch.float64)
        table = ErrorTable(tuple(grid.tolist()), tuple(self.error(grid).clamp(min=1e-30).tolist()))
        self._info = PriorInfo(
            name,
            channels=channels,
            sigma_min=1e-3,
            sigma_max=1e3,
            native_size=height if height == width else None,
            receptive_field=2 * max(height, width),
            differentiable=True,
            sigma_data=self._power.mean().sqrt().item(),
            error_table=table,
        )

    @property
    def info(self) -> PriorInfo:
        return self._info

    @property
    def covariance(self) -> Tensor:
        """C as [d, d] float64."""
        d = self.mean.numel()
        return self._filter(torch.eye(d, dtype=torch.float64), self._power.expand(d, *self._power.shape))

    def _filter(self, rows: Tensor, response: Tensor) -> Tensor:
        """Scale flattened rows [N, d] by `response` [N, ...] in the basis that diagonalises C."""
        if self._basis is not None:
            basis = self._basis.to(rows.device)
            rotated: Tensor = ((rows @ basis) * response) @ basis.T
            return rotated
        pictures = rows.view(-1, *self.mean.shape)
        filtered: Tensor = torch.fft.ifft2(torch.fft.fft2(pictures) * response).real
        return filtered.reshape(rows.shape)

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """E[x0 | x]: x [N, C, H, W] of the mean's size, sigma [N].

        Raises:
            ParameterError: x is of another size.
        """
        if x.shape[1:] != self.mean.shape:
            raise ParameterError(f"this prior knows pictures of shape {tuple(self.mean.shape)}, not {tuple(x.shape)}")
        mean, power = self.mean.to(x.device), self._power.to(x.device)
        variance = sigma.to(torch.float64).square().view(-1, *[1] * power.ndim)
        rows = (x.to(torch.float64) - mean).flatten(1)
        answer = self._filter(rows, power / (power + variance).clamp(min=1e-300)).view(x.shape) + mean
        return answer.to(x.dtype)

    def error(self, sigma: Tensor) -> Tensor:
        """Exact mean squared error of D per value at each sigma [N], float64: the mean of l s^2 / (l + s^2)."""
        variance = sigma.to("cpu", torch.float64).square()[:, None]
        power = self._power.reshape(1, -1)
        left: Tensor = power * variance / (power + variance).clamp(min=1e-300)
        return left.mean(dim=1)

    def sample(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Pictures [count, C, H, W] float32 drawn from the prior."""
        rows = torch.randn(count, self.mean.numel(), generator=generator, dtype=torch.float64)
        drawn = self._filter(rows, self._power.sqrt().expand(count, *self._power.shape))
        return (drawn.view(count, *self.mean.shape) + self.mean).to(torch.float32)

    def posterior(self, y: Tensor, matrix: Tensor, noise_variance: float | Tensor) -> tuple[Tensor, Tensor]:
        """Exact posterior mean [N, C, H, W] and covariance [d, d], float64, given measurements y [N, ...] = A x + n.

        Args:
            y: measurements, flattened per row for the matrix.
            matrix: A, [m, d]; see `operator_matrix`.
            noise_variance: a number, or one per measured value [m].
        """
        mean, covariance = gaussian_posterior(self.mean.flatten(), self.covariance, matrix, y, noise_variance)
        return mean.view(-1, *self.mean.shape), covariance
