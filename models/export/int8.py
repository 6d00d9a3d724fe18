"""A float32 graph with its convolutions in int8: static quantisation, calibrated on photographs across noise levels.

Weights are quantised by channel, activations by tensor (QDQ: the file holds QuantizeLinear and DequantizeLinear around
each convolution, which runtimes fuse). A tensor's range leaves out its rarest values: a few outliers would take most of
the 256 steps. The first and the last convolution stay in float, then those whose rounding, each alone, costs most; on
the coarse levels of a UNet int8 costs nothing measurable, on the finest it does. What is lost is measured at each noise
level, on other photographs than the calibration's: late, little noise needs more bits than early, much noise, so that
int8 may be safe from some level on only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.errors import ExportError, ParityError
from models.parity import TOLERANCES, Parity, Tolerance, compare, sample_batches
from restore.prior.protocol import Denoiser, PriorInfo

if TYPE_CHECKING:
    import onnx

#: Noise levels of the calibration, 0-255 scale: what activations must have room for.
CALIBRATION_LEVELS = (10.0, 25.0, 50.0, 100.0, 300.0)
#: Sides of the crops, how many photographs the loss is measured on, and how many of the others are calibrated on.
CROP, HELD_OUT, MOST_CALLS = 128, 4, 20
#: Share of a tensor's values that is clipped at either end.
CLIPPED = 5e-5
#: dB at `ALONE_LEVEL` that the convolutions in int8, each alone, may cost together; the next is tried while int8 is not
#: safe from `WANTED_FROM` on.
BUDGETS = (0.01, 0.003, 0.001)
ALONE_LEVEL, WANTED_FROM = 25.0, 15.0
#: Of int8's tolerance, what may be used up here: a runtime that computes the rest in bfloat16 loses by that, too.
MARGIN = 0.5
#: Of how many convolutions the cost is measured, the likeliest first: a graph is built for each.
MOST_MEASURED = 48
#: Values that are looked at in one run of the graph.
AT_ONCE = 16


@dataclass(frozen=True)
class Calibration:
    """What turns a network's float32 graph into int8, known from photographs.

    Attributes:
        ranges: (lowest, highest) input value of every convolution, in the graph's order; both 0 where it is unknown.
        kept: positions of those that stay in float.
        safe_from: smallest noise level (0-255 scale) from which on no more than the tolerance is lost.
    """

    ranges: tuple[tuple[float, float], ...]
    kept: tuple[int, ...]
    safe_from: float

    def record(self) -> dict[str, Any]:
        """As JSON."""
        ranges = [[float(f"{value:.5g}") for value in found] for found in self.ranges]
        return {"ranges": ranges, "kept": list(self.kept), "safe_from": self.safe_from}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Calibration:
        """What `record` gave."""
        ranges = tuple((float(low), float(high)) for low, high in record["ranges"])
        return cls(ranges, tuple(int(index) for index in record["kept"]), float(record["safe_from"]))


@dataclass(frozen=True)
class Quantised:
    """An int8 graph and what it costs.

    Attributes:
        model: the graph.
        parity: against float32, on photographs that it was not calibrated on.
        calibration: what made it.
        kept: names of the convolutions that stay in float.
        convolutions: how many there are.
    """

    model: onnx.ModelProto
    parity: Parity
    calibration: Calibration
    kept: tuple[str, ...]
    convolutions: int

    @property
    def safe_from(self) -> float:
        """See `Calibration`."""
        return self.calibration.safe_from


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
    held, known = torch.stack(list(photographs[:HELD_OUT])), list(photographs[HELD_OUT:])[:MOST_CALLS]
    nodes = _convolutions(model)
    if len(nodes) < 3:
        raise ExportError(f"{info.name} has no convolutions that could be computed in int8")
    ranges, rounding = _ranges(model, info, known)
    ends = {0, len(nodes) - 1}
    fixed = ends | {index for index, found in enumerate(ranges) if found == (0.0, 0.0)}
    suspects = sorted(set(rounding) - fixed, key=rounding.__getitem__, reverse=True)
    losses = _alone(model, ranges, suspects, held, original, run)
    best: Quantised | None = None
    for budget in BUDGETS:
        kept = tuple(sorted(fixed | _too_dear(losses, budget)))
        graph = apply(model, Calibration(ranges, kept, 0.0))
        # Synthetic pictures besides: their flat regions show most.
        parity = compare(original, run(graph.SerializeToString()), [held, *sample_batches(info)])
        calibration = Calibration(ranges, kept, safe_from(parity))
        found = Quantised(graph, parity, calibration, tuple(nodes[index].name for index in kept), len(nodes))
        if best is None or found.safe_from < best.safe_from:
            best = found
        if best.safe_from <= WANTED_FROM:
            break
    assert best is not None
    if math.isinf(best.safe_from):
        level, lost = min(best.parity.by_level().items(), key=lambda item: item[1])
        raise ParityError(
            f"{info.name} in int8 loses {lost:.3f} dB or more at every noise level (least at {level:g}); allowed "
            f"{TOLERANCES['int8'].psnr:g} dB"
        )
    return best


def safe_from(parity: Parity) -> float:
    """The smallest measured noise level from which on every level is well within int8's tolerance; infinity when none
    is."""
    allowed = Tolerance(TOLERANCES["int8"].rms, MARGIN * TOLERANCES["int8"].psnr)
    safe = math.inf
    for level in sorted(parity.by_level(), reverse=True):
        if any(found.sigma == level and not found.within(allowed) for found in parity.deviations):
            break
        safe = level
    return safe


def apply(model: onnx.ModelProto, calibration: Calibration) -> onnx.ModelProto:
    """The graph with its convolutions in int8, but those that are kept.

    Args:
        model: in float32; not changed.
        calibration: of this network.

    Raises:
        ExportError: the calibration is another network's.
    """
    import onnx
    from onnx import helper, numpy_helper

    graph = onnx.ModelProto()
    graph.CopyFrom(model)
    tensors = {tensor.name: tensor for tensor in graph.graph.initializer}
    if len(calibration.ranges) != len(_convolutions(graph)):
        raise ExportError(f"a calibration of {len(calibration.ranges)} convolutions is another network's")
    nodes, added, position = [], [], -1
    for node in graph.graph.node:
        position += node.op_type == "Conv"
        if node.op_type == "Conv" and position not in calibration.kept and node.input[1] in tensors:
            step, zero = _steps(*calibration.ranges[position])
            weights, steps = _whole_numbers(numpy_helper.to_array(tensors[node.input[1]]))
            name = f"int8_{position}"
            values: dict[str, NDArray[Any]] = {
                "step": step, "zero": zero, "weight": weights, "steps": steps, "zeros": np.zeros(len(steps), np.int8)
            }  # fmt: skip
            added += [numpy_helper.from_array(value, f"{name}_{part}") for part, value in values.items()]
            nodes += [
                helper.make_node("QuantizeLinear", [node.input[0], f"{name}_step", f"{name}_zero"], [f"{name}_whole"]),
                helper.make_node(
                    "DequantizeLinear", [f"{name}_whole", f"{name}_step", f"{name}_zero"], [f"{name}_input"]
                ),
                helper.make_node(
                    "DequantizeLinear", [f"{name}_weight", f"{name}_steps", f"{name}_zeros"], [f"{name}_kernel"], axis=0
                ),
            ]
            node.input[0], node.input[1] = f"{name}_input", f"{name}_kernel"
        nodes.append(node)
    used = {name for node in nodes for name in node.input}
    remaining = [tensor for tensor in graph.graph.initializer if tensor.name in used]
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    remaining = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in remaining]
    del graph.graph.node[:], graph.graph.initializer[:]
    graph.graph.node.extend(nodes)
    graph.graph.initializer.extend([*remaining, *added])
    return graph


def _convolutions(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.op_type == "Conv"]


def _steps(low: float, high: float) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Size of a step, and which of the 256 steps is zero; zero is always one of them."""
    low, high = min(low, 0.0), max(high, 0.0)
    step = max(high - low, 1e-6) / 255.0
    return np.array(step, np.float32), np.array(round(-low / step), np.uint8)


def _whole_numbers(kernel: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Weights [out, ...] as whole numbers from -127 to 127, and the size of a step by output channel."""
    largest = np.abs(kernel).reshape(len(kernel), -1).max(axis=1)
    steps = np.maximum(largest, 1e-12) / 127.0
    whole = np.round(kernel / steps.reshape(-1, *[1] * (kernel.ndim - 1)))
    return whole.astype(np.int8), steps.astype(np.float32)


def _calls(photographs: Sequence[Tensor], info: PriorInfo) -> Iterator[dict[str, Any]]:
    """Every photograph at one noise level, the levels in turns."""
    generator = torch.Generator().manual_seed(0)
    levels = [level / 127.5 for level in CALIBRATION_LEVELS if info.sigma_min <= level / 127.5 <= info.sigma_max]
    for index, clean in enumerate(photographs):
        sigma = levels[index % len(levels)]
        noisy = clean + sigma * torch.randn(clean.shape, generator=generator)
        yield {"x": noisy[None].numpy(), "sigma": torch.full((1,), sigma).numpy()}


def _ranges(
    model: onnx.ModelProto, info: PriorInfo, photographs: Sequence[Tensor]
) -> tuple[tuple[tuple[float, float], ...], dict[int, float]]:
    """Range of every convolution's input, and how coarse its steps are beside its standard deviation."""
    from models.runtime.onnx_runtime import values_of

    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = {i: node.input[0] for i, node in enumerate(_convolutions(model)) if node.input[1] in weights}
    found: dict[int, tuple[float, float]] = {}
    spread: dict[int, float] = {}
    positions = list(inputs)
    for first in range(0, len(positions), AT_ONCE):
        some = positions[first : first + AT_ONCE]
        for values in values_of(model, sorted({inputs[i] for i in some}), _calls(photographs, info)):
            for i in some:
                low, high = np.quantile(values[inputs[i]], (CLIPPED, 1.0 - CLIPPED))
                known = found.get(i, (0.0, 0.0))
                found[i] = (min(known[0], float(low)), max(known[1], float(high)))
                spread[i] = max(spread.get(i, 0.0), float(np.std(values[inputs[i]])))
    rounding = {i: (found[i][1] - found[i][0]) / (spread[i] + 1e-12) for i in positions}
    return tuple(found.get(i, (0.0, 0.0)) for i in range(len(_convolutions(model)))), rounding


def _alone(
    model: onnx.ModelProto, ranges: tuple[tuple[float, float], ...], candidates: Sequence[int], held: Tensor,
    original: Denoiser, run: Callable[[bytes], Denoiser],
) -> dict[int, float]:  # fmt: skip
    """PSNR in dB that each convolution costs when it alone is in int8; those that are not measured cost nothing."""
    losses = {}
    for index in candidates[:MOST_MEASURED]:
        others = tuple(i for i in range(len(ranges)) if i != index)
        graph = apply(model, Calibration(ranges, others, 0.0))
        losses[index] = compare(original, run(graph.SerializeToString()), [held], [ALONE_LEVEL]).psnr_lost
    return losses


def _too_dear(losses: dict[int, float], budget: float) -> set[int]:
    """The dearest, so that what the others cost is within the budget."""
    left, given_back = sum(max(0.0, loss) for loss in losses.values()), set()
    for index in sorted(losses, key=losses.__getitem__, reverse=True):
        if left <= budget:
            break
        given_back.add(index)
        left -= max(0.0, losses[index])
    return given_back


def crops(photographs: Sequence[Any], info: PriorInfo) -> list[Tensor]:
    """Central crops [3, side, side] float32 in [-1, 1] of uint8 HWC photographs, of a size that the network takes."""
    from models.error_table import central_crops

    return central_crops(photographs, info.native_size or -(-CROP // info.multiple_of) * info.multiple_of)
