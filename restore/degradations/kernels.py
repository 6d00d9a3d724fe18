"""Blur kernels (point spread functions), and checking those that users bring."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from restore.errors import ParameterError

#: Sub-pixels a side with which discs and lines are drawn.
SUPERSAMPLING = 8


def as_kernel(values: Any) -> Tensor:
    """A user's point spread function as [kh, kw] float32 with sum 1.

    Args:
        values: tensor, array or nested list; leading axes of length 1 are dropped; any positive scale. Or a text that
            `named_kernel` reads.

    Raises:
        ParameterError: not two-dimensional, an even side (where its centre lies would be a guess), NaN or infinity,
            negative values, or nothing but zeros; or an unknown text.
    """
    if isinstance(values, str):
        return named_kernel(values)
    try:
        kernel = torch.as_tensor(values).detach().to("cpu", torch.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ParameterError(f"the blur kernel must be an array of numbers: {error}") from None
    while kernel.ndim > 2 and kernel.shape[0] == 1:
        kernel = kernel[0]
    if kernel.ndim != 2 or kernel.numel() == 0:
        raise ParameterError(f"the blur kernel must be [height, width]; got the shape {list(kernel.shape)}")
    height, width = kernel.shape
    if height % 2 == 0 or width % 2 == 0:
        raise ParameterError(
            f"the blur kernel must have odd sides so that its centre is a pixel; got {width}x{height} (add a row or a "
            "column of zeros on the side away from the centre)"
        )
    if not bool(torch.isfinite(kernel).all()):
        raise ParameterError("the blur kernel holds NaN or infinity")
    if float(kernel.min()) < 0.0:
        raise ParameterError(f"the blur kernel holds negative values (down to {float(kernel.min()):.3g})")
    total = float(kernel.sum())
    if total <= 0.0:
        raise ParameterError("the blur kernel is all zeros")
    return (kernel / total).float()


def named_kernel(text: str) -> Tensor:
    """A kernel by its formula: gaussian:SIGMA, defocus:RADIUS or motion:LENGTH:ANGLE, in pixels and degrees.

    Raises:
        ParameterError: anything else, or numbers that the formula does not take.
    """
    form, *words = text.split(":")
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = []
    match form, numbers:
        case "gaussian", [sigma]:
            return gaussian_kernel(sigma)
        case "defocus", [radius]:
            return defocus_kernel(radius)
        case "motion", [length, angle]:
            return line_kernel(length, angle)
    raise ParameterError(
        f"the blur kernel {text!r} is not gaussian:SIGMA, defocus:RADIUS or motion:LENGTH:ANGLE with numbers"
    )


def gaussian_kernel(sigma: float, size: int | None = None) -> Tensor:
    """[k, k] isotropic Gaussian, sampled at pixel centres, sum 1.

    Args:
        sigma: standard deviation in pixels.
        size: k, odd; by default wide enough for 3.5 sigma either side (0.05 % of the weight is cut off).

    Raises:
        ParameterError: sigma is not positive, or the size is not odd and positive.
    """
    _positive("sigma", sigma)
    size = 2 * math.ceil(3.5 * sigma) + 1 if size is None else size
    _odd(size)
    t = torch.arange(size, dtype=torch.float64) - size // 2
    profile = torch.exp(-0.5 * (t / sigma).square())
    return as_kernel(torch.outer(profile, profile))


def defocus_kernel(radius: float) -> Tensor:
    """[k, k] uniform disc of the given radius in pixels (geometric defocus), its rim antialiased, sum 1.

    Raises:
        ParameterError: the radius is not positive.
    """
    _positive("radius", radius)
    half = math.ceil(radius)
    size = 2 * half + 1
    fine = (torch.arange(size * SUPERSAMPLING, dtype=torch.float64) + 0.5) / SUPERSAMPLING - size / 2
    inside = (fine.square().view(-1, 1) + fine.square() <= radius**2).double()
    return as_kernel(_mean_blocks(inside))


def line_kernel(length: float, angle: float) -> Tensor:
    """[k, k] uniform motion along a straight line, sum 1.

    Args:
        length: of the line in pixels.
        angle: in degrees, anticlockwise from the picture's horizontal.

    Raises:
        ParameterError: the length is not positive, or the angle not finite.
    """
    _positive("length", length)
    if not math.isfinite(angle):
        raise ParameterError(f"the angle must be a number of degrees; got {angle}")
    t = torch.linspace(-0.5, 0.5, max(2, math.ceil(length * SUPERSAMPLING)), dtype=torch.float64) * length
    direction = math.radians(angle)
    return _drawn(-t * math.sin(direction), t * math.cos(direction), 2 * math.ceil(length / 2) + 1)


def motion_kernel(seed: int, size: int = 25, unsteadiness: float = 0.5) -> Tensor:
    """[size, size] camera shake: a smooth random path, reproducible from its seed, sum 1, centred on its mean.

    The path's velocity is a random walk in direction and speed; the whole is scaled to fill the kernel.

    Args:
        seed: of the path.
        size: side in pixels, odd, at least 3.
        unsteadiness: 0 gives a straight line, 1 a scribble.

    Raises:
        ParameterError: an even or too small size, or an unsteadiness outside [0, 1].
    """
    _odd(size)
    if size < 3 or not 0.0 <= unsteadiness <= 1.0:
        raise ParameterError(f"motion kernels need size >= 3 and unsteadiness in [0, 1]; got {size}, {unsteadiness}")
    generator = torch.Generator().manual_seed(seed)
    steps = 64 * SUPERSAMPLING
    start = torch.rand(1, generator=generator, dtype=torch.float64) * 2.0 * math.pi
    turns = torch.randn(2, steps, generator=generator, dtype=torch.float64)
    # A direction that wanders by up to a few radians over the exposure, at a speed that varies by about a factor e.
    direction = start + unsteadiness * 6.0 * turns[0].cumsum(0) / math.sqrt(steps)
    speed = torch.exp(unsteadiness * 2.0 * turns[1].cumsum(0) / math.sqrt(steps))
    y, x = (speed * direction.sin()).cumsum(0), (speed * direction.cos()).cumsum(0)
    y, x = y - y.mean(), x - x.mean()
    reach = max(float(y.abs().max()), float(x.abs().max()))
    scale = (size // 2 - 0.5) / reach
    return _drawn(y * scale, x * scale, size)


def _drawn(y: Tensor, x: Tensor, size: int) -> Tensor:
    """Points (pixels from the centre), each spread over its four neighbours by its distance to them."""
    kernel = torch.zeros((size + 2) ** 2, dtype=torch.float64)
    y, x = y + size // 2 + 1, x + size // 2 + 1
    top, left = y.floor(), x.floor()
    for dy in (0, 1):
        for dx in (0, 1):
            weight = (1.0 - (y - top - dy).abs()) * (1.0 - (x - left - dx).abs())
            index = ((top + dy) * (size + 2) + left + dx).long()
            kernel.index_add_(0, index, weight)
    return as_kernel(kernel.view(size + 2, size + 2)[1:-1, 1:-1])


def _mean_blocks(fine: Tensor) -> Tensor:
    k = fine.shape[0] // SUPERSAMPLING
    return fine.view(k, SUPERSAMPLING, k, SUPERSAMPLING).mean((1, 3))


def _positive(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0.0):
        raise ParameterError(f"{name} must be positive; got {value}")


def _odd(size: int) -> None:
    if int(size) != size or size < 1 or size % 2 == 0:
        raise ParameterError(f"a kernel's size must be odd and positive; got {size}")
