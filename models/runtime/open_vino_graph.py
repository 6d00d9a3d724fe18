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
        return core.compile_model(model, "CPU", settings).create_infer_request()
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise RuntimeUnavailableError(f"OpenVINO cannot run {name}: {reason}") from error
