"""OpenVINO: x86 and ARM CPUs."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.denoiser import bf16_in_hardware
from models.runtime.external import ExternalDenoiser
from restore.errors import RuntimeUnavailableError
from restore.prior.protocol import PriorInfo

NAME = "openvino"
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


class OpenVinoDenoiser(ExternalDenoiser):
    """A network run by OpenVINO on the CPU.

    A request is compiled once for all sizes: OpenVINO keeps the primitives of the shapes that it has seen.

    Args:
        data: the ONNX file's content, checked before (`models.runtime.onnx_files`).
        info: facts of the network.
        precision: "fp32" or "bf16", which a float32 graph is computed in; "int8" of a quantised graph.

    Raises:
        RuntimeUnavailableError: OpenVINO is missing, or cannot run the graph or the precision here.
    """

    def __init__(self, data: bytes, info: PriorInfo, precision: str = "fp32") -> None:
        cpu = torch.device("cpu")
        super().__init__(info, NAME, precision, cpu)
        if precision == "bf16" and not bf16_in_hardware(cpu):
            raise RuntimeUnavailableError("this processor has no bfloat16 instructions; choose openvino:fp32")
        hint = HINTS.get(precision, "bf16" if bf16_in_hardware(cpu) else "f32")
        module = load_module()
        settings = {
            "INFERENCE_PRECISION_HINT": hint,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            # Denormals are far below what a picture shows, and slow.
            "CPU_DENORMALS_OPTIMIZATION": True,
        }
        try:
            core = module.Core()
            compiled = core.compile_model(core.read_model(data, b""), "CPU", settings)
            self._request = compiled.create_infer_request()
        except Exception as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
            raise RuntimeUnavailableError(f"OpenVINO cannot run {info.name}: {reason}") from error

    def _infer(self, x: Tensor, sigma: Tensor) -> Tensor:
        answers = self._request.infer({"x": x.numpy(), "sigma": sigma.numpy()}, share_inputs=True)
        # The request's own memory is used again by the next call.
        return torch.from_numpy(np.array(answers[0], copy=True))
