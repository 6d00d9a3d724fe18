"""OpenVINO: x86 and ARM CPUs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from models.denoiser import bf16_in_hardware
from models.runtime.external import ExternalDenoiser
from models.runtime.graded import GradedDenoiser
from models.runtime.open_vino_graph import HINTS, compile_request, load_module
from restore.errors import RuntimeUnavailableError
from restore.prior.protocol import PriorInfo

NAME = "openvino"

__all__ = ["NAME", "OpenVinoDenoiser", "graded", "load_module"]


class OpenVinoDenoiser(ExternalDenoiser):
    """A network run by OpenVINO on the CPU.

    A request is compiled once for all sizes: OpenVINO keeps the primitives of the shapes that it has seen.

    Args:
        data: the ONNX file's content, checked before (`models.runtime.onnx_files`).
        info: facts of the network.
        precision: "fp32" or "bf16", which a float32 graph is computed in; "int8" of a quantised graph.
        request: what the graph was compiled to before, in this precision and for PyTorch's number of threads.

    Raises:
        RuntimeUnavailableError: OpenVINO is missing, or cannot run the graph or the precision here.
    """

    def __init__(self, data: bytes, info: PriorInfo, precision: str = "fp32", request: Any = None) -> None:
        cpu = torch.device("cpu")
        super().__init__(info, NAME, precision, cpu)
        if precision == "bf16" and not bf16_in_hardware(cpu):
            raise RuntimeUnavailableError("this processor has no bfloat16 instructions; choose openvino:fp32")
        hint = HINTS.get(precision, "bf16" if bf16_in_hardware(cpu) else "f32")
        if request is None:
            request = compile_request(data, info.name, hint, torch.get_num_threads())
        self._request = request

    def _infer(self, x: Tensor, sigma: Tensor) -> Tensor:
        # In the request's own memory, which its next call uses again.
        answers = self._request.infer({"x": x.numpy(), "sigma": sigma.numpy()}, share_inputs=True, share_outputs=True)
        return torch.from_numpy(answers[0])


def graded(coarse: OpenVinoDenoiser, data: bytes, safe_from: float, floating: str) -> GradedDenoiser:
    """A network in int8 where that is safe.

    Args:
        coarse: the graph in int8.
        data: the graph in float32.
        safe_from: noise level, 0-255 scale.
        floating: what the float32 graph is computed in below that.
    """
    info = coarse.info
    return GradedDenoiser(
        coarse, lambda: OpenVinoDenoiser(data, info, floating), safe_from, NAME, f"{coarse.precision}+{floating}"
    )
