"""JPEG: a picture known only up to the quantisation cells of its DCT coefficients."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from restore.degradations.base import Degradation, Estimate
from restore.degradations.noise import NoiseModel
from restore.degradations.planes import LIMIT
from restore.errors import ParameterError

Tables = Mapping[int, Sequence[int]]

#: ITU-T T.81 (1992), tables K.1 (luma) and K.2 (chroma), row by row.
LUMA = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51,
    87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
CHROMA = (
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99,
    99, 99, 99, *(99,) * 32,
)  # fmt: skip

#: RGB to YCbCr, JFIF 1.02 (1992); Cb and Cr are centred on 0 here, as the DCT wants them.
TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
TO_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))


#: Blocks are told apart by how much detail they keep, in classes of equal number: pooled, smooth and busy ones have no
#: Laplace density.
CLASSES = 4

#: Mean magnitude of the integers below which a class leaves a frequency empty: a few blocks that use it tell nothing
#: about the rest.
RARE = 2e-3

#: Predicted over true error of the initial estimate, median over 33 photographs, quality 10 to 80, 4:4:4 and 4:2:0;
#: single ones scatter by a factor of 1.4 around it.
UNDERRATED = 0.85

#: Blocks of chroma above and below a strip that its decoded chroma depends on: up-sampling is undone in `SHARPENINGS`
#: rounds, each of which reaches one row further.
CONTEXT, SHARPENINGS = 2, 10

#: Variance of rounding to 8 bits.
ROUNDING = 1.0 / 12.0


def standard_tables(quality: int) -> dict[int, tuple[int, ...]]:
    """The tables that the Independent JPEG Group's encoder uses at a quality of 1 to 100, {0: luma, 1: chroma}.

    Raises:
        ParameterError: quality out of range.
    """
    if not 1 <= quality <= 100:
        raise ParameterError(f"JPEG quality must lie between 1 and 100, not {quality!r}")
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality

    def scaled(table: Sequence[int]) -> tuple[int, ...]:
        return tuple(min(max((t * scale + 50) // 100, 1), 255) for t in table)

    return {0: scaled(LUMA), 1: scaled(CHROMA)}


def dct_matrix() -> Tensor:
    """[8, 8] orthonormal DCT-II: rows are frequencies."""
    k = torch.arange(8, dtype=torch.float64)
    basis = torch.cos(math.pi * (2.0 * k[None, :] + 1.0) * k[:, None] / 16.0) * math.sqrt(2.0 / 8.0)
    basis[0] /= math.sqrt(2.0)
    return basis.float()


def blocks_to_frequencies(plane: Tensor) -> Tensor:
    """[N, H, W] with sides divisible by 8 to orthonormal DCT coefficients [N, H/8, W/8, 8, 8]."""
    n, h, w = plane.shape
    d = dct_matrix().to(plane)
    blocks = plane.reshape(n, h // 8, 8, w // 8, 8).transpose(2, 3)
    return d @ blocks @ d.mT


def frequencies_to_blocks(coefficients: Tensor) -> Tensor:
    """The inverse of `blocks_to_frequencies`."""
    n, rows, columns = coefficients.shape[:3]
    d = dct_matrix().to(coefficients)
    return (d.mT @ coefficients @ d).transpose(2, 3).reshape(n, 8 * rows, 8 * columns)


def truncated_normal_mean(mean: Tensor, deviation: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """E[c | low < c < high] for c ~ N(mean, deviation^2), stable however far out the cell lies.

    mean + deviation (phi(a) - phi(b)) / (Phi(b) - Phi(a)) with a, b the standardised bounds (Johnson, Kotz and
    Balakrishnan 1994, section 13.10.1), written with erfcx on the side of the nearer bound; for a cell narrower than
    a thousandth of the deviation, its centre.
    """
    a, b = (low - mean) / deviation, (high - mean) / deviation
    flip = a + b < 0.0  # mirror, so that the cell's bulk lies on the right
    a, b = torch.where(flip, -b, a), torch.where(flip, -a, b)
    # phi(a) - phi(b) and Phi(b) - Phi(a), both divided by phi(a); a <= b and a + b >= 0, so the ratio never overflows.
    ratio = torch.exp((0.5 * (a - b) * (a + b)).clamp(min=-80.0))
    root = math.sqrt(0.5)
    # For negative a erfcx grows like exp(a^2 / 2): there a > -b, the cell holds the peak, and erf is exact enough.
    tail = torch.special.erfcx(root * a.clamp(min=0.0)) - ratio * torch.special.erfcx(root * b.clamp(min=0.0))
    scaled_tail = math.sqrt(math.pi / 2.0) * tail
    peak = 0.5 * (torch.erf(root * b) - torch.erf(root * a)) * math.sqrt(2.0 * math.pi)
    peak = peak * torch.exp((0.5 * a.square()).clamp(max=80.0))
    mass = torch.where(a >= 0.0, scaled_tail, peak)
    shift = (1.0 - ratio) / mass.clamp_min(1e-20)
    width = b - a
    shift = torch.where(width < 1e-3, 0.5 * (a + b), torch.minimum(torch.maximum(shift, a), b))
    return mean + deviation * torch.where(flip, -shift, shift)


def quantisation_error(magnitude: Tensor, step: Tensor) -> Tensor:
    """Mean squared distance of Laplace-distributed coefficients from the centres of their cells.

    With scale b and s = exp(-step / 2b), the mean magnitude of the integers is s / (1 - s^2), which gives b from them
    (as Price and Rabbani 1999, IEEE Signal Processing Letters 6, by maximum likelihood). The cell around 0 then
    contributes the integral of c^2 over it, the others the second moment of an exponential density cut to one step.

    Args:
        magnitude: mean absolute value of the integers at each frequency.
        step: of the quantiser there, broadcastable to `magnitude`.
    """
    m = magnitude.clamp_min(1e-6)
    s = 2.0 * m / (1.0 + (1.0 + 4.0 * m.square()).sqrt())
    h = -torch.log(s).clamp(max=-1e-6)
    b2 = (step / (2.0 * h)).square()
    zero = 2.0 * b2 * (1.0 - s * (1.0 + h + 0.5 * h.square()))
    others = s * b2 * (h.square() + 2.0 - 2.0 * h / torch.tanh(h))
    # For wide densities the difference above cancels, and the error is uniform in the cell.
    error = torch.where(h < 0.1, step.square() / 12.0, zero + others)
    return torch.where(magnitude < RARE, 0.0, error)


class JPEG(Degradation):
    """y is what a decoder makes of a JPEG file with these tables.

    `forward` compresses and decompresses as the Independent JPEG Group's library does (box-averaged chroma, triangular
    chroma up-sampling), except for its integer arithmetic. The cells are recovered by quantising y again with the same
    tables, which gives the file's integers but where the decoder clipped.

    The gain step treats each coefficient c of the prior's estimate as N(c, v) truncated to its cell and takes the mean:
    for small v the projection onto the cell, for large v the cell's centre, which is the decoded picture. Detail that
    the file does not speak of (full-resolution chroma) stays the prior's.

    Args:
        tables: {0: luma, 1: chroma}, 64 numbers each row by row; without 1, luma's serve for both.
        subsampling: of the chroma, (vertical, horizontal), each 1, 2 or 4.
        noise: unused by the gain step, which knows the cells; added by `measure`.

    Raises:
        ParameterError: tables or subsampling that no JPEG file has.
    """

    def __init__(self, tables: Tables, subsampling: tuple[int, int] = (1, 1), noise: NoiseModel | None = None) -> None:
        super().__init__(noise)
        luma, chroma = tables.get(0, ()), tables.get(1, tables.get(0, ()))
        for table in (luma, chroma):
            if len(table) != 64 or min(table) < 1:
                raise ParameterError("a JPEG quantisation table has 64 positive numbers: {0: luma, 1: chroma}")
        if any(s not in (1, 2, 4) for s in subsampling):
            raise ParameterError(f"JPEG chroma is reduced by 1, 2 or 4 a side, not {subsampling}")
        self.subsampling = subsampling
        self.tables = torch.tensor([luma, chroma, chroma], dtype=torch.float32).reshape(3, 8, 8)

    def image_shape(self, y: Tensor) -> tuple[int, int, int, int]:
        n, c, h, w = y.shape
        return n, c, h, w

    def forward(self, x: Tensor) -> Tensor:
        out = torch.empty_like(x)
        for top, bottom in self._strips(x):
            before, beyond = self._around(top, bottom)
            out[..., top:bottom, :] = self._compressed(x[..., before:beyond, :])[..., top - before : bottom - before, :]
        return out

    def _compressed(self, x: Tensor) -> Tensor:
        planes = []
        for plane, table in zip(self._planes(x), self.tables.to(x), strict=True):
            quantised = table * torch.round(blocks_to_frequencies(plane.round()) / table)
            planes.append(frequencies_to_blocks(quantised).round().clamp(-128.0, 127.0))
        rgb = self._picture([planes[0], *(self._decoded_chroma(p) for p in planes[1:])], x.shape[-2:])
        return ((rgb + 128.0).round().clamp(0.0, 255.0) / 127.5) - 1.0

    def cells(self, y: Tensor) -> list[Tensor]:
        """The quantised integers of Y, Cb and Cr, each [N, rows, columns, 8, 8] int16."""
        strips = [self._cells(y, top, bottom) for top, bottom in self._strips(y)]
        return [torch.cat([part.short() for part in plane], 1) for plane in zip(*strips, strict=True)]

    def _cells(self, y: Tensor, top: int, bottom: int) -> list[Tensor]:
        """The same, float32, of the blocks between two rows of pixels."""
        before, beyond = self._around(top, bottom)
        planes = self._planes(y[..., before:beyond, :], decoded=True)
        vertical = self.subsampling[0]
        skipped, count = (top - before) // (8 * vertical), -(-(bottom - top) // (8 * vertical))
        integers = []
        for plane, table, times in zip(planes, self.tables.to(y), (vertical, 1, 1), strict=True):
            rows = plane[:, 8 * times * skipped : 8 * times * (skipped + count)]
            integers.append(torch.round(blocks_to_frequencies(rows) / table))
        return integers

    def _strips(self, x: Tensor) -> Iterator[tuple[int, int]]:
        """First rows of the strips that a picture is worked through in, and those after their last: whole blocks."""
        height, unit = x.shape[-2], 8 * self.subsampling[0]
        rows = max(LIMIT * height // x.numel() // unit, 1) * unit
        return ((top, min(top + rows, height)) for top in range(0, height, rows))

    def _around(self, top: int, bottom: int) -> tuple[int, int]:
        """Rows that the chroma of a strip depends on."""
        margin = CONTEXT * 8 * self.subsampling[0]
        return max(top - margin, 0), bottom + margin

    def gain_step(self, d: Tensor, y: Tensor, v: Tensor) -> Tensor:
        out = torch.empty_like(d)
        for top, bottom in self._strips(d):
            out[..., top:bottom, :] = self._corrected(d[..., top:bottom, :], self._cells(y, top, bottom), v)
        return out

    def _corrected(self, d: Tensor, cells: list[Tensor], v: Tensor) -> Tensor:
        changes = []
        for channel, (plane, integers) in enumerate(zip(self._planes(d), cells, strict=True)):
            table = self.tables[channel].to(d)
            c = blocks_to_frequencies(plane)
            deviation = (v * self._gain(channel)).sqrt().clamp_min(1e-4).view(-1, 1, 1, 1, 1) * 127.5
            low, high = (integers - 0.5) * table, (integers + 0.5) * table
            changes.append(frequencies_to_blocks(truncated_normal_mean(c, deviation, low, high) - c))
        vertical, horizontal = self.subsampling
        chroma = [p.repeat_interleave(vertical, 1).repeat_interleave(horizontal, 2) for p in changes[1:]]
        return d + self._picture([changes[0], *chroma], d.shape[-2:]) / 127.5

    def initial_estimate(self, y: Tensor) -> Estimate:
        """The decoded picture. Its error: at every frequency the coefficients of like blocks follow a Laplace density
        (Lam and Goodman 2000, IEEE TIP 9) whose scale the file's integers tell, zeros included, and a coefficient errs
        by its distance from the centre of its cell. Chroma beyond the file's resolution is not counted."""
        variance = torch.zeros(y.shape[0], device=y.device)
        for channel, (integers, table) in enumerate(zip(self.cells(y), self.tables.to(y), strict=True)):
            # The channel's share of the error in RGB: the squared column norm of TO_RGB over three.
            share = sum(row[channel] ** 2 for row in TO_RGB) / 3.0
            magnitudes = integers.abs().flatten(1, 2)
            detail = magnitudes.sum(dim=(2, 3)) - magnitudes[..., 0, 0]
            order = detail.argsort(dim=1)[..., None, None].expand_as(magnitudes)
            for part in magnitudes.gather(1, order).chunk(CLASSES, dim=1):
                weight = share * part.shape[1] / magnitudes.shape[1]
                variance = variance + weight * quantisation_error(part.float().mean(dim=1), table).mean(dim=(1, 2))
        return Estimate(y, (variance + ROUNDING).sqrt() / (127.5 * UNDERRATED))

    def _gain(self, channel: int) -> float:
        """Variance of a coefficient of Y, Cb or Cr for unit variance of every RGB value."""
        gain = sum(c * c for c in TO_YCC[channel])
        return gain if channel == 0 else gain / (self.subsampling[0] * self.subsampling[1])

    def _planes(self, x: Tensor, decoded: bool = False) -> list[Tensor]:
        """Y, Cb, Cr in -128..127, padded by repetition to whole blocks, chroma reduced.

        `decoded`: x came out of a decoder, whose chroma up-sampling is undone instead of averaging over it.
        """
        vertical, horizontal = self.subsampling
        h, w = x.shape[-2:]
        padded = F.pad(x, (0, -w % (8 * horizontal), 0, -h % (8 * vertical)), mode="replicate")
        ycc = torch.einsum("dc,nchw->dnhw", torch.tensor(TO_YCC).to(x), padded * 127.5)
        luma = ycc[0] - 0.5  # x = 1 is 255 and grey, x = 0, lies at 127.5; the DCT is centred on 128
        if self.subsampling == (1, 1):
            return [luma, ycc[1], ycc[2]]
        chroma = F.avg_pool2d(ycc[1:], (vertical, horizontal))
        if decoded:
            chroma = _sharpen(chroma, vertical == 2, horizontal == 2)
        return [luma, chroma[0], chroma[1]]

    def _decoded_chroma(self, plane: Tensor) -> Tensor:
        """Chroma at full resolution: triangular where reduced by two, repeated where by four."""
        for dim, factor in ((1, self.subsampling[0]), (2, self.subsampling[1])):
            if factor == 2:
                before, after = _neighbours(plane, dim)
                pair = torch.stack([(3.0 * plane + before) / 4.0, (3.0 * plane + after) / 4.0], dim=dim + 1)
                plane = pair.flatten(dim, dim + 1)
            elif factor == 4:
                plane = plane.repeat_interleave(4, dim)
        return plane

    @staticmethod
    def _picture(planes: list[Tensor], size: torch.Size) -> Tensor:
        """YCbCr planes to RGB [N, 3, H, W], on the same scale."""
        ycc = torch.stack([p[:, : size[0], : size[1]] for p in planes])
        return torch.einsum("cd,dnhw->nchw", torch.tensor(TO_RGB).to(ycc), ycc)


def _neighbours(plane: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """The values before and after each one along an axis, the ends repeated."""
    length = plane.shape[dim]
    first, last = plane.narrow(dim, 0, 1), plane.narrow(dim, length - 1, 1)
    before = torch.cat([first, plane.narrow(dim, 0, length - 1)], dim)
    return before, torch.cat([plane.narrow(dim, 1, length - 1), last], dim)


def _sharpen(averaged: Tensor, vertical: bool, horizontal: bool) -> Tensor:
    """Undo what triangular up-sampling and averaging do together, (1, 6, 1) / 8 along each reduced axis.

    Jacobi's iteration on that matrix contracts by a third a round: ten leave 2e-5.
    """
    for dim, wanted in ((2, vertical), (3, horizontal)):
        if wanted:
            sharp = averaged
            for _ in range(SHARPENINGS):
                before, after = _neighbours(sharp, dim)
                sharp = (8.0 * averaged - before - after) / 6.0
            averaged = sharp
    return averaged
