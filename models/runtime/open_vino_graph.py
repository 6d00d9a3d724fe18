"""Compiling a graph with OpenVINO. Does not load torch: a command can do both at the same time."""

from __future__ import annotations

from typing import Any

import numpy as np

from restore.errors import RuntimeUnavailableError

#: What float operations are computed in. int8 is in the graph; the rest of such a graph follows the hardware.
HINTS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}


def load_module() -> Any:
    """The module openvino.

    Raises:
        RuntimeUnavailableError: it cannot be imported.
    """
    try:
        import openvino
    except ImportError as error:
        raise RuntimeUnavailableError(
            f"OpenVINO cannot be imported ({error}); pip install 'pellucid[openvino]'"
        ) from error
    return openvino


def compile_request(data: bytes, name: str, hint: str, threads: int) -> Any:
    """A request on the CPU, compiled for all sizes.

    Args:
        data: the ONNX file's content, checked before (`models.runtime.onnx_files`).
        name: of the prior, for messages.
        hint: what float operations are computed in, a value of `HINTS`.
        threads: of a call.

    Raises:
        RuntimeUnavailableError: OpenVINO is missing, or cannot run the graph.
    """
    module = load_module()
    settings = {
        "INFERENCE_PRECISION_HINT": hint,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        # Denormals are far below what a picture shows, and slow.
        "CPU_DENORMALS_OPTIMIZATION": True,
    }
    try:
        core = module.Core()
        model = core.read_model(data, b"")
        _fuse_quantisation(module, model)
        _fuse_modulation(module, model)
        _unshuffle(module, model)
        _convolve_unshuffled(module, model)
        return core.compile_model(model, "CPU", settings).create_infer_request()
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise RuntimeUnavailableError(f"OpenVINO cannot run {name}: {reason}") from error


def _fuse_quantisation(module: Any, model: Any) -> None:
    """Have values that not only a quantised convolution reads quantised by an element-wise operation.

    OpenVINO computes a quantisation together with the operation before it where nothing else reads that one's result.
    The stream of a residual network is read by additions, too: its quantisation then takes two changes of the memory's
    layout and a pass in float32. A minimum with the largest value that can be told apart changes nothing, and is
    computed together with it (512x512 pixels of the embedded prior on two cores with AMX: 95 ms -> 73).
    """
    operations = module.opset13
    for node in model.get_ordered_ops():
        if node.get_type_name() != "FakeQuantize":
            continue
        values, highest = node.input_value(0), node.input_value(2)
        if len(values.get_target_inputs()) > 1 and highest.get_node().get_type_name() == "Constant":
            node.input(0).replace_source_output(operations.minimum(values, highest).output(0))


def _fuse_modulation(module: Any, model: Any) -> None:
    """Have FiLM's multiplication and addition computed in one pass over the picture.

    Its scales and shifts, [N, C, 1, 1], are the halves of one vector. OpenVINO does not compute both operations
    together where they come from a split, and where they do not, in the vector's memory layout, to which the picture's
    is changed. A convolution of every channel alone with ones changes nothing, and its answer has the layout of
    pictures (the embedded prior on two cores with AMX, 512x512 pixels: 114 ms -> 104 in bfloat16, 90 -> 82 in int8).
    """
    operations = module.opset13
    for node in model.get_ordered_ops():
        shape = node.input_value(0).get_partial_shape() if node.get_type_name() == "Split" else ()
        if len(shape) != 4 or any(side.is_dynamic or side.get_length() != 1 for side in shape[2:]):
            continue
        for half in node.outputs():
            channels = half.get_partial_shape()[1]
            if channels.is_dynamic:
                continue
            ones = np.ones((channels.get_length(), 1, 1, 1, 1), np.float32)
            readers = half.get_target_inputs()
            same = operations.group_convolution(half, ones, [1, 1], [0, 0], [0, 0], [1, 1])
            for reader in readers:
                reader.replace_source_output(same.output(0))


def _unshuffle(module: Any, model: Any) -> None:
    """Have pixels moved into channels by the operation made for it.

    The export of a pixel-unshuffle is a chain of reshapes around a transposition, with sizes computed in every call.
    """
    for node in model.get_ordered_ops():
        order = node.input_value(1).get_node() if node.get_type_name() == "Transpose" else None
        if order is None or order.get_type_name() != "Constant" or list(order.get_data()) != [0, 1, 3, 5, 2, 4]:
            continue
        _, channels, _, *sides = (_length(side) for side in node.get_input_partial_shape(0))
        block = sides[0]
        source, target = _beyond_reshapes(node)
        if block is None or channels is None or sides[2] != block:
            continue
        if _channels(source) == channels and _channels(target) == channels * block**2:
            target.replace(module.opset13.space_to_depth(source, "depth_first", block).output(0))


def _convolve_unshuffled(module: Any, model: Any) -> None:
    """Have a convolution that reads every pixel once, its stride the size of its kernel, read them from channels.

    Once pixels are moved into channels it is one of single pixels: both together take two thirds of its time (with
    `_unshuffle` the embedded prior's 26.9 ms -> 26.3 in bfloat16, 512x512 pixels 104.6 -> 102.0; two cores with AMX).
    Its input must then be a multiple of the stride, as it is in pictures padded to a prior's `multiple_of`.
    """
    operations = module.opset13
    for node in model.get_ordered_ops():
        if node.get_type_name() != "Convolution" or node.input_value(1).get_node().get_type_name() != "Constant":
            continue
        kernel = node.input_value(1).get_node().get_data()
        sizes, block = {*kernel.shape[2:], *node.get_strides()}, kernel.shape[-1]
        padded = any([*node.get_pads_begin(), *node.get_pads_end()])
        if kernel.ndim != 4 or sizes != {block} or block == 1 or padded or {*node.get_dilations()} != {1}:
            continue
        pixels = operations.space_to_depth(node.input_value(0), "blocks_first", block)
        weights = kernel.transpose(0, 2, 3, 1).reshape(len(kernel), -1, 1, 1)
        same = operations.convolution(pixels, np.ascontiguousarray(weights), [1, 1], [0, 0], [0, 0], [1, 1])
        node.output(0).replace(same.output(0))


def _beyond_reshapes(node: Any) -> tuple[Any, Any]:
    """What is reshaped, once or more often, to a node's input, and what its answer is reshaped to in the end."""
    source, target = node.input_value(0), node.output(0)
    while source.get_node().get_type_name() == "Reshape":
        source = source.get_node().input_value(0)
    while True:
        reshapes = [r.get_node() for r in target.get_target_inputs() if r.get_node().get_type_name() == "Reshape"]
        if len(reshapes) != 1:
            return source, target
        target = reshapes[0].output(0)


def _channels(value: Any) -> int | None:
    """Of a value that is a picture; None for others."""
    shape = value.get_partial_shape()
    return _length(shape[1]) if shape.rank.is_static and len(shape) == 4 else None


def _length(side: Any) -> int | None:
    return None if side.is_dynamic else side.get_length()
