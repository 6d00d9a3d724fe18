"""A float32 graph with its convolutions in int8: static quantisation, calibrated on photographs across noise levels.

Weights are quantised by channel, activations by tensor (QDQ: the file holds QuantizeLinear and DequantizeLinear around
each convolution, which runtimes fuse). The first and the last convolution stay in float, then as many of the others as
it takes, those first whose inputs lose most by rounding. What is lost is measured at each noise level, on other
photographs than the calibration's: late, little noise needs more bits than early, much noise, so that int8 may be safe
from some level on only.
"""

from __future__ import annotations

import contextlib
import logging
import math
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from models.errors import ExportError, ParityError
from models.parity import TOLERANCES, Parity, compare
from restore.prior.protocol import Denoiser, PriorInfo

if TYPE_CHECKING:
    import onnx

#: Noise levels of the calibration, 0-255 scale: what activations must have room for.
CALIBRATION_LEVELS = (3.0, 10.0, 25.0, 50.0, 100.0, 300.0)
#: Sides of the crops, and how many photographs the loss is measured on; the others are calibrated on.
CROP, HELD_OUT = 128, 4
#: Share of the convolutions that is given back to float at a time while too much is lost, and how often.
SHARE, TRIES = 0.25, 2


@dataclass(frozen=True)
class Quantised:
    """An int8 graph and what it costs.

    Attributes:
        model: the graph.
        parity: against float32, on photographs that it was not calibrated on.
        safe_from: smallest noise level (0-255 scale) from which on no more than the tolerance is lost.
        kept: names of the convolutions that stay in float.
        convolutions: how many there are.
    """

    model: onnx.ModelProto
    parity: Parity
    safe_from: float
    kept: tuple[str, ...]
    convolutions: int


def quantise(
    model: onnx.ModelProto,
    info: PriorInfo,
    photographs: Sequence[Tensor],
    original: Denoiser,
    run: Callable[[bytes], Denoiser],
) -> Quantised:
    """Quantise a graph.

    Args:
        model: in float32, as `models.export.graph.to_onnx` makes it.
        info: its facts.
        photographs: clean crops, each [3, H, W] float32 in [-1, 1], all of one size that the network takes.
        original: the network in float32, for comparison.
        run: makes a denoiser of an ONNX file.

    Raises:
        ExportError: too few photographs, or nothing to quantise.
        ParityError: more than the tolerance is lost at every noise level.
    """
    if len(photographs) < 2 * HELD_OUT:
        raise ExportError(f"int8 needs {2 * HELD_OUT} photographs or more to be calibrated, not {len(photographs)}")
    held, known = torch.stack(list(photographs[:HELD_OUT])), list(photographs[HELD_OUT:])
    convolutions = [node.name for node in model.graph.node if node.op_type == "Conv"]
    if len(convolutions) < 3:
        raise ExportError(f"{info.name} has no convolutions that could be computed in int8")
    kept = {convolutions[0], convolutions[-1]}
    best: Quantised | None = None
    for attempt in range(TRIES + 1):
        quantised = _quantised(model, info, known, kept)
        parity = compare(original, run(quantised.SerializeToString()), [held])
        found = Quantised(quantised, parity, safe_from(parity), tuple(sorted(kept)), len(convolutions))
        if best is None or found.safe_from < best.safe_from:
            best = found
        if best.safe_from <= min(parity.by_level()) or attempt == TRIES:
            break
        kept |= _sensitive(model, quantised, info, known[0], kept)
    assert best is not None
    if math.isinf(best.safe_from):
        level, lost = min(best.parity.by_level().items(), key=lambda item: item[1])
        raise ParityError(
            f"{info.name} in int8 loses {lost:.3f} dB or more at every noise level (least at {level:g}); allowed "
            f"{TOLERANCES['int8'].psnr:g} dB"
        )
    return best


def safe_from(parity: Parity) -> float:
    """The smallest measured noise level from which on every level is within int8's tolerance; infinity when none is."""
    safe = math.inf
    for level in sorted(parity.by_level(), reverse=True):
        if any(found.sigma == level and not found.within(TOLERANCES["int8"]) for found in parity.deviations):
            break
        safe = level
    return safe


class _Reader:
    """Calls for the calibration, in the form that ONNX Runtime reads."""

    def __init__(self, calls: Iterator[dict[str, Any]]) -> None:
        self._calls = calls

    def get_next(self) -> dict[str, Any] | None:
        """The inputs of the next call."""
        return next(self._calls, None)


def _calls(photographs: Sequence[Tensor], info: PriorInfo) -> Iterator[dict[str, Any]]:
    """Every photograph at one noise level, the levels in turns."""
    generator = torch.Generator().manual_seed(0)
    levels = [level / 127.5 for level in CALIBRATION_LEVELS if info.sigma_min <= level / 127.5 <= info.sigma_max]
    for index, clean in enumerate(photographs):
        sigma = levels[index % len(levels)]
        noisy = clean + sigma * torch.randn(clean.shape, generator=generator)
        yield {"x": noisy[None].numpy(), "sigma": torch.full((1,), sigma).numpy()}


def _quantised(model: onnx.ModelProto, info: PriorInfo, photographs: Sequence[Tensor], kept: set[str]) -> Any:
    import onnx
    from onnxruntime import quantization

    with tempfile.TemporaryDirectory() as folder, _silence():
        path = Path(folder) / "int8.onnx"
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        quantization.quantize_static(
            copy,
            path,
            _Reader(_calls(photographs, info)),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            nodes_to_exclude=sorted(kept),
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=quantization.CalibrationMethod.MinMax,
        )
        return onnx.load(path)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """The library advises, by warnings and by the root logger, a preparation that the exporter has done already."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.setLevel(level)


def _sensitive(
    model: onnx.ModelProto, quantised: onnx.ModelProto, info: PriorInfo, photograph: Tensor, kept: set[str]
) -> set[str]:
    """The convolutions whose inputs lose most by rounding, relative to their own size."""
    import numpy as np

    from models.runtime.onnx_runtime import values_of

    scales = {tensor.name: tensor for tensor in quantised.graph.initializer}
    steps = {
        node.input[0]: _number(scales[node.input[1]])
        for node in quantised.graph.node
        if node.op_type == "QuantizeLinear" and node.input[1] in scales and not scales[node.input[1]].dims
    }
    wanted = {
        node.name: node.input[0]
        for node in model.graph.node
        if node.op_type == "Conv" and node.name not in kept and node.input[0] in steps
    }
    (call,) = _calls([photograph], info)
    values = values_of(model, sorted(set(wanted.values())), call)
    # The error of rounding to steps is uniform: its standard deviation is the step over the root of twelve.
    loss = {
        name: steps[value] / math.sqrt(12.0) / (float(np.std(values[value])) + 1e-12) for name, value in wanted.items()
    }
    count = max(1, round(SHARE * len(loss)))
    return set(sorted(loss, key=loss.__getitem__, reverse=True)[:count])


def _number(tensor: Any) -> float:
    from onnx import numpy_helper

    return float(numpy_helper.to_array(tensor))


def crops(photographs: Sequence[Any], info: PriorInfo) -> list[Tensor]:
    """Central crops [3, side, side] float32 in [-1, 1] of uint8 HWC photographs, of a size that the network takes."""
    from models.error_table import central_crops

    return central_crops(photographs, info.native_size or -(-CROP // info.multiple_of) * info.multiple_of)
