"""A float32 graph in float16 or bfloat16, with islands of float32 where half the bits are too few.

Convolutions and matrix products, and the plain arithmetic between them, are computed in half precision. float32 stay:
everything before the first convolution (noise embedding, scaling of the input), everything after the last one (the
output scaling and the skip of the preconditioning), whatever divides, normalises, takes roots or exponentials, and, for
float16, layers whose values on pictures come near its largest number or whose weights lie below its smallest one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from models.errors import ExportError
from restore.prior.protocol import PriorInfo

TYPES = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
#: Where the work is.
HEAVY = ("Conv", "ConvTranspose", "Gemm", "MatMul")
#: What may stay in half precision between them: elementwise or rearranging, no sums over many values.
LIGHT = (
    "Add", "Sub", "Mul", "Sigmoid", "Relu", "Tanh", "Gelu", "Split", "Concat", "Reshape", "Transpose", "Slice",
    "Unsqueeze", "Squeeze", "Resize", "DepthToSpace", "SpaceToDepth", "Expand", "Identity", "Pad", "Flatten",
)  # fmt: skip
#: Inputs of these beyond the first are sizes, axes and pads, not values.
SHAPED = ("Split", "Reshape", "Slice", "Unsqueeze", "Squeeze", "Resize", "Expand", "Pad")
#: float16 ends at 65504; a factor of eight is left for pictures that were not tried.
LARGEST = 65504.0 / 8.0
#: Below 2^-14 float16 loses bits; weights of this size on average keep seven of them.
SMALLEST = 2.0**-17


def to_half(model: onnx.ModelProto, precision: str, info: PriorInfo) -> onnx.ModelProto:
    """The same network with most of it in half precision; inputs and output stay float32.

    Args:
        model: in float32, as `models.export.graph.to_onnx` makes it.
        precision: "fp16" or "bf16".
        info: its facts.

    Raises:
        ExportError: the graph holds other graphs (loops, branches), which this cannot follow.
    """
    if any(attribute.HasField("g") or attribute.graphs for node in model.graph.node for attribute in node.attribute):
        raise ExportError(f"{info.name} has branches or loops; export it in fp32")
    half = onnx.ModelProto()
    half.CopyFrom(model)
    islands = overflowing(half, info) | underflowing(half) if precision == "fp16" else frozenset[str]()
    _Halving(half.graph, TYPES[precision], islands).run()
    onnx.checker.check_model(half)
    return half


class _Halving:
    """Rewrites one graph in place.

    Args:
        graph: in topological order.
        kind: the half type.
        islands: names of node outputs that must be computed in float32.
    """

    def __init__(self, graph: onnx.GraphProto, kind: int, islands: Iterable[str]) -> None:
        self.graph, self.kind, self.islands = graph, kind, frozenset(islands)
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.leads_to_heavy = _upstream_of_heavy(graph)
        self.halved: set[str] = set()
        self.nodes: list[onnx.NodeProto] = []
        self.copies: dict[tuple[str, int], str] = {}

    def run(self) -> None:
        """Rewrite."""
        floats = _float_values(self.graph)
        outputs = {value.name for value in self.graph.output}
        for node in self.graph.node:
            if self._wants_half(node, floats) and not outputs & set(node.output):
                self._retype(node, self.kind, floats)
                self.halved.update(name for name in node.output if name in floats)
            else:
                self._retype(node, TensorProto.FLOAT, floats)
            self.nodes.append(node)
        del self.graph.node[:]
        self.graph.node.extend(self.nodes)
        del self.graph.value_info[:]
        used = {name for node in self.nodes for name in node.input}
        kept = [tensor for tensor in self.graph.initializer if tensor.name in used]
        del self.graph.initializer[:]
        self.graph.initializer.extend(kept)

    def _wants_half(self, node: onnx.NodeProto, floats: set[str]) -> bool:
        if self.islands & set(node.output) or not set(node.output) <= floats:
            return False
        if node.op_type in HEAVY:
            # A product of the noise embedding is a few thousand operations: nothing is won by halving it.
            return node.op_type.startswith("Conv") or any(name in self.halved for name in node.input)
        follows = any(name in self.halved for name in node.input)
        return node.op_type in LIGHT and follows and node.output[0] in self.leads_to_heavy

    def _retype(self, node: onnx.NodeProto, kind: int, floats: set[str]) -> None:
        values = node.input[:1] if node.op_type in SHAPED else list(node.input)
        for index, name in enumerate(values):
            if name in floats or (name in self.constants and self.constants[name].data_type == TensorProto.FLOAT):
                now = self.kind if name in self.halved else TensorProto.FLOAT
                if now != kind:
                    node.input[index] = self._converted(name, kind)

    def _converted(self, name: str, kind: int) -> str:
        """The value in another type: a constant is rounded here, anything else by a Cast before the node."""
        if (name, kind) not in self.copies:
            copy = f"{name}_{TensorProto.DataType.Name(kind).lower()}"
            self.copies[name, kind] = copy
            if name in self.constants:
                rounded = numpy_helper.to_array(self.constants[name]).astype(helper.tensor_dtype_to_np_dtype(kind))
                self.graph.initializer.append(numpy_helper.from_array(rounded, copy))
            else:
                self.nodes.append(helper.make_node("Cast", [name], [copy], name=f"{copy}_cast", to=kind))
        return self.copies[name, kind]


def _upstream_of_heavy(graph: onnx.GraphProto) -> set[str]:
    """Values from which a convolution or matrix product still follows."""
    found: set[str] = set()
    for node in reversed(graph.node):
        if node.op_type in HEAVY or found & set(node.output):
            found.update(node.input)
    return found


def _float_values(graph: onnx.GraphProto) -> set[str]:
    """Names of the float32 values that nodes and inputs give."""
    inferred = onnx.shape_inference.infer_shapes(helper.make_model(graph, opset_imports=[_opset()]), strict_mode=True)
    values = [*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output]
    return {value.name for value in values if value.type.tensor_type.elem_type == TensorProto.FLOAT}


def _opset() -> onnx.OperatorSetIdProto:
    from models.export.graph import OPSET

    return helper.make_opsetid("", OPSET)


def overflowing(model: onnx.ModelProto, info: PriorInfo) -> frozenset[str]:
    """Values that come near the end of float16 on pictures with little and with the most noise.

    Args:
        model: in float32.
        info: its facts.
    """
    import torch

    from models.parity import sample_batches
    from models.runtime.onnx_runtime import LOG_SEVERITY, load_module

    runtime = load_module()
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    floats = _float_values(probe.graph) - {value.name for value in (*probe.graph.input, *probe.graph.output)}
    made = [name for node in probe.graph.node for name in node.output if name in floats]
    peaks = []
    for name in made:
        # One number a value, so that a large network's values need not be held at once.
        probe.graph.node.extend(
            [
                helper.make_node("Abs", [name], [f"{name}_size"]),
                helper.make_node("ReduceMax", [f"{name}_size"], [f"{name}_peak"], keepdims=0),
            ]
        )
        peaks.append(f"{name}_peak")
    probe.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, []) for name in peaks)
    options = runtime.SessionOptions()
    options.log_severity_level = LOG_SEVERITY
    session = runtime.InferenceSession(probe.SerializeToString(), options, providers=["CPUExecutionProvider"])
    clean = sample_batches(info)[0]
    largest: Any = np.zeros(len(peaks))
    for sigma in (info.sigma_min, info.sigma_data, info.sigma_max):
        noisy = clean + sigma * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
        levels = np.full(len(noisy), sigma, np.float32)
        found = session.run(peaks, {"x": noisy.numpy(), "sigma": levels})
        largest = np.fmax(largest, np.nan_to_num(np.array(found), nan=np.inf))
    return frozenset(name for name, peak in zip(made, largest, strict=True) if peak > LARGEST)


def underflowing(model: onnx.ModelProto) -> frozenset[str]:
    """Results of products whose weights are too small for float16.

    Args:
        model: in float32.
    """
    weights = {tensor.name: tensor for tensor in model.graph.initializer if len(tensor.dims) > 1}
    found = set()
    for node in model.graph.node:
        for name in set(node.input) & weights.keys() if node.op_type in HEAVY else ():
            values = numpy_helper.to_array(weights[name]).astype(np.float64)
            if 0.0 < np.sqrt(np.mean(values**2)) < SMALLEST:
                found.add(node.output[0])
    return frozenset(found)


def rounding_in_float32(model: onnx.ModelProto) -> onnx.ModelProto:
    """A graph that gives a half-precision graph's answers where nothing computes in that type: every operation in
    float32, its inputs and outputs rounded.

    Args:
        model: what `to_half` gave.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    values = onnx.shape_inference.infer_shapes(copy).graph
    kinds = {value.name: value.type.tensor_type.elem_type for value in (*values.value_info, *values.input)}
    kinds |= {tensor.name: tensor.data_type for tensor in copy.graph.initializer}
    nodes = []
    for node in copy.graph.node:
        halves = [name for name in node.output if kinds.get(name) in TYPES.values()]
        if node.op_type == "Cast" or not halves:
            nodes.append(node)
            continue
        prefix = node.output[0]
        for index, name in enumerate(node.input):
            if kinds.get(name) in TYPES.values():
                node.input[index] = f"{prefix}_in{index}"
                nodes.append(helper.make_node("Cast", [name], [node.input[index]], to=TensorProto.FLOAT))
        nodes.append(node)
        for index, name in enumerate(node.output):
            node.output[index] = f"{prefix}_out{index}"
            nodes.append(helper.make_node("Cast", [node.output[index]], [name], to=kinds[name]))
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    del copy.graph.value_info[:]
    return copy
