"""How fast a single 3x3 convolution runs on this machine, in each precision."""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import torch
from torch import Tensor, nn

PRECISIONS = ("fp32", "bf16", "int8")
GPU_PRECISIONS = ("fp32", "tf32", "bf16", "fp16")
#: Pictures in a convolution on a GPU: one alone does not fill it.
GPU_BATCH = 16
GPU_SIDES = (64, 128)
WIDTHS = (64, 96, 128, 192, 256)
SIDES = (32, 64, 128)

Prepare = Callable[[int, int], Callable[[], object]]
"""(width, side) -> a convolution ready to run."""


@dataclass(frozen=True)
class Best:
    """The fastest convolution found.

    Attributes:
        rate: GFLOP/s (two operations for every multiply-add).
        shape: at which it was.
        flop: of a call.
        run: calls it once more; None on a GPU.
    """

    rate: float
    shape: str
    flop: float = 0.0
    run: Callable[[], object] | None = None


def measure(precision: str) -> Best | None:
    """The best rate over widths and sizes; None when PyTorch cannot convolve in this precision here.

    Args:
        precision: one of `PRECISIONS`.
    """
    return next(iter(fastest(precision, 1)), None)


def fastest(precision: str, count: int, seconds: float = 0.1) -> list[Best]:
    """The fastest convolutions over widths and sizes, the best first; none when PyTorch cannot convolve so here.

    Args:
        precision: one of `PRECISIONS`.
        count: how many.
        seconds: spent on each shape.
    """
    found: list[Best] = []
    for prepare in CONVOLUTIONS[precision]:
        for width in WIDTHS:
            for side in SIDES:
                # PyTorch built without oneDNN, or without this precision, has no such operator.
                with suppress(RuntimeError, AttributeError):
                    run, flop = prepare(width, side), 18.0 * width * width * side * side
                    rate = flop / median(run, seconds) / 1e9
                    found.append(Best(rate, f"{width} channels, {side}x{side}", flop, run))
    return sorted(found, key=lambda best: best.rate, reverse=True)[:count]


def measure_on_gpu(precision: str, widths: Sequence[int], device: torch.device, seconds: float = 0.03) -> Best | None:
    """The best rate of cuDNN over widths and sizes, each with the fastest of its algorithms.

    Args:
        precision: one of `GPU_PRECISIONS`.
        widths: channels in and out.
        device: a CUDA device.
        seconds: spent on each shape.
    """
    best: Best | None = None
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision, torch.float32)
    with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=precision == "tf32"), torch.no_grad():
        for width in widths:
            for side in GPU_SIDES:
                layer, x = _layer(dtype, width, side, GPU_BATCH, device)
                rate = 18.0 * width * width * side * side * GPU_BATCH / _gpu_seconds(layer, x, seconds) / 1e9
                if best is None or rate > best.rate:
                    best = Best(rate, f"{width} channels, {side}x{side}, batch {GPU_BATCH}")
    return best


def _gpu_seconds(layer: nn.Module, x: Tensor, seconds: float) -> float:
    """Median time of a call among many queued at once: launching them must not be what is measured."""
    for _ in range(3):
        layer(x)
    torch.cuda.synchronize(x.device)
    times: list[float] = []
    while sum(times) < seconds or len(times) < 3:
        start = time.perf_counter()
        for _ in range(10):
            layer(x)
        torch.cuda.synchronize(x.device)
        times.append(time.perf_counter() - start)
    return statistics.median(times) / 10


def median(run: Callable[[], object], seconds: float) -> float:
    """Median time of a call, repeated for so many seconds after warming up: the measure the prior is given too."""
    for _ in range(3):
        run()
    times: list[float] = []
    while sum(times) < seconds:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def eager(dtype: torch.dtype) -> Prepare:
    """Channels-last convolution as a layer runs it."""

    def prepare(width: int, side: int) -> Callable[[], object]:
        layer, x = _layer(dtype, width, side)
        return lambda: layer(x)

    return prepare


def packed(dtype: torch.dtype) -> Prepare:
    """The same with its weights brought into oneDNN's own layout beforehand."""

    def prepare(width: int, side: int) -> Callable[[], object]:
        layer, x = _layer(dtype, width, side)
        ones = [1, 1]
        operators = torch.ops.mkldnn
        weight = operators._reorder_convolution_weight(layer.weight, ones, ones, ones, 1, list(x.shape))
        return lambda: operators._convolution_pointwise(x, weight, layer.bias, ones, ones, ones, 1, "none", [], "")

    return prepare


def int8(width: int, side: int) -> Callable[[], object]:
    """uint8 activations, int8 weights with one scale per channel."""
    scales = torch.full((width,), 0.01, dtype=torch.float64)
    zeros = torch.zeros(width, dtype=torch.int64)
    with warnings.catch_warnings():
        # PyTorch announces that these tensors will go; measure() then says that int8 is not supported.
        warnings.simplefilter("ignore")
        weight = torch.quantize_per_channel(torch.randn(width, width, 3, 3) * 0.3, scales, zeros, 0, torch.qint8)
        x = torch.quantize_per_tensor(torch.randn(1, width, side, side), 0.05, 128, torch.quint8)
    x = x.contiguous(memory_format=torch.channels_last)
    weights = torch.ops.quantized.conv2d_prepack(weight, torch.zeros(width), [1, 1], [1, 1], [1, 1], 1)
    return lambda: torch.ops.quantized.conv2d(x, weights, 0.5, 128)


def _layer(
    dtype: torch.dtype, width: int, side: int, batch: int = 1, device: torch.device | str = "cpu"
) -> tuple[nn.Conv2d, Tensor]:
    layer = nn.Conv2d(width, width, 3, padding=1).requires_grad_(False)
    layer = layer.to(device=device, dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = torch.randn(batch, width, side, side)
    return layer, x.to(device=device, dtype=dtype, memory_format=torch.channels_last)


CONVOLUTIONS: dict[str, tuple[Prepare, ...]] = {
    "fp32": (eager(torch.float32), packed(torch.float32)),
    "bf16": (eager(torch.bfloat16), packed(torch.bfloat16)),
    "int8": (int8,),
}
