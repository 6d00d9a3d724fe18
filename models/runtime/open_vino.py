"""OpenVINO: x86 and ARM CPUs."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor

from models.denoiser import bf16_in_hardware, has_amx
from models.runtime.external import ExternalDenoiser
from models.runtime.graded import GradedDenoiser
from models.runtime.open_vino_graph import HINTS, compile_request, load_module
from restore.errors import RuntimeUnavailableError
from restore.prior.protocol import PriorInfo

NAME = "openvino"

__all__ = ["NAME", "OpenVinoDenoiser", "graded", "load_module"]


#: Square pictures of so many pixels a side or more, in steps of 64, have a graph compiled for them alone, which takes
#: 0.3 s once. With AMX, 512x512 pixels are then answered in 0.87 of the time (int8: 0.92), with AVX-512 in 0.96 to 0.99
#: (two cores); with AMX large photographs are divided into such tiles (`PriorInfo.full_tiles`). Which graph serves a
#: size must not depend on how often it was asked for: the last bits differ.
FIXED_FROM, FIXED_STEP = 448, 64
#: Sizes whose graphs are kept, each of 130 MB.
FIXED_KEPT = 2


class OpenVinoDenoiser(ExternalDenoiser):
    """A network run by OpenVINO on the CPU.

    One request is compiled for all sizes but those of `FIXED_FROM`: OpenVINO keeps the primitives of the shapes that it
    has seen.

    Args:
        data: the ONNX file's content, checked before (`models.runtime.onnx_files`).
        info: facts of the network.
        precision: "fp32" or "bf16", which a float32 graph is computed in; "int8" of a quantised graph.
        request: what that graph was compiled to before, in this precision and for PyTorch's number of threads.

    Raises:
        RuntimeUnavailableError: OpenVINO is missing, or cannot run the graph or the precision here.
    """

    def __init__(self, data: bytes, info: PriorInfo, precision: str = "fp32", request: Any = None) -> None:
        cpu = torch.device("cpu")
        super().__init__(replace(info, full_tiles=has_amx() and precision != "fp32"), NAME, precision, cpu)
        if precision == "bf16" and not bf16_in_hardware(cpu):
            raise RuntimeUnavailableError("this processor has no bfloat16 instructions; choose openvino:fp32")
        hint = HINTS.get(precision, "bf16" if bf16_in_hardware(cpu) else "f32")
        compiled = partial(compile_request, data, info.name, hint, torch.get_num_threads())
        self._request = compiled() if request is None else request
        self._fixed = lru_cache(FIXED_KEPT)(compiled)

    def _infer(self, x: Tensor, sigma: Tensor) -> Tensor:
        height, width = x.shape[2:]
        if height != width or height < FIXED_FROM or height % FIXED_STEP:
            return _answer(self._request, x, sigma)
        request = self._fixed(tuple(x.shape[1:]))
        if len(x) == 1:
            return _answer(request, x, sigma)
        rows = zip(x.split(1), sigma.split(1), strict=True)
        return torch.cat([_answer(request, *row).clone() for row in rows])


def _answer(request: Any, x: Tensor, sigma: Tensor) -> Tensor:
    """In the request's own memory, which its next call uses again."""
    answers = request.infer({"x": x.numpy(), "sigma": sigma.numpy()}, share_inputs=True, share_outputs=True)
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
