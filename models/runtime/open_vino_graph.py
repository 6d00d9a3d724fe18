"""Compiling a graph with OpenVINO. Does not load torch: a command can do both at the same time."""

from __future__ import annotations

from typing import Any

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


def compile_request(data: bytes, name: str, hint: str, threads: int, shape: tuple[int, ...] | None = None) -> Any:
    """A request on the CPU, compiled for all sizes, or for single pictures of one shape.

    Args:
        data: the ONNX file's content, checked before (`models.runtime.onnx_files`).
        name: of the prior, for messages.
        hint: what float operations are computed in, a value of `HINTS`.
        threads: of a call.
        shape: (channels, height, width); None for any, and any number of pictures.

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
        if shape is not None:
            model.reshape({"x": [1, *shape], "sigma": [1]})
        _fuse_quantisation(module, model)
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
