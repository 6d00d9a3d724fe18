"""TensorRT: engines compiled for one GPU, one tile and up to so many of them at a time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from models.runtime.external import ExternalDenoiser
from restore.errors import ParameterError, RuntimeUnavailableError
from restore.prior.protocol import PriorInfo

NAME = "tensorrt"
#: Side of a tile, and tiles at a time: what the service's batches on a GPU are made for.
TILE, MAX_BATCH = 256, 16


def load_module() -> Any:
    """The module tensorrt.

    Raises:
        RuntimeUnavailableError: it cannot be imported.
    """
    try:
        import tensorrt
    except ImportError as error:
        raise RuntimeUnavailableError(f"TensorRT cannot be imported ({error}); pip install tensorrt") from error
    return tensorrt


def check_device(device: torch.device) -> None:
    """Refuse other devices than NVIDIA's.

    Raises:
        RuntimeUnavailableError: it is no CUDA device.
    """
    if device.type != "cuda":
        raise RuntimeUnavailableError(f"TensorRT runs on CUDA devices only, not on {device}")


def logger(module: Any) -> Any:
    """TensorRT's logger, which says errors only."""
    return module.Logger(module.Logger.ERROR)


class TensorRtDenoiser(ExternalDenoiser):
    """A network run by TensorRT: tiles of one size, which `info.native_size` tells whoever cuts them.

    Inputs and outputs stay in the GPU's memory; the work is queued on torch's own stream.

    Args:
        engine: as `models.export.tensor_rt.build_engine` made it on this machine. It is machine code: never one from
            elsewhere.
        info: facts of the network.
        device: "cuda:N".
        precision: of the engine, as reported.
        tile: side of its tiles.

    Raises:
        RuntimeUnavailableError: TensorRT is missing, the device is no CUDA device, or the engine is for another one.
    """

    def __init__(self, engine: bytes, info: PriorInfo, device: torch.device, precision: str, tile: int) -> None:
        module = load_module()
        check_device(device)
        super().__init__(replace(info, native_size=tile), NAME, precision, device)
        self._tile = tile
        with torch.cuda.device(device):
            # The engine needs its runtime for as long as it lives.
            self._runtime = module.Runtime(logger(module))
            self._engine = self._runtime.deserialize_cuda_engine(engine)
            if self._engine is None:
                raise RuntimeUnavailableError(f"TensorRT cannot load its engine of {info.name}: is it for another GPU?")
            self._context = self._engine.create_execution_context()
        self._most = int(self._engine.get_tensor_profile_shape("x", 0)[2][0])

    def _infer(self, x: Tensor, sigma: Tensor) -> Tensor:
        if x.shape[2:] != (self._tile, self._tile):
            raise ParameterError(f"this engine takes tiles of {self._tile} pixels, not {tuple(x.shape[2:])}")
        answer = torch.empty_like(x)
        stream = torch.cuda.current_stream(self.device)
        for first in range(0, len(x), self._most):
            rows = slice(first, first + self._most)
            bound = {"x": x[rows], "sigma": sigma[rows], "denoised": answer[rows]}
            for name in ("x", "sigma"):
                self._context.set_input_shape(name, tuple(bound[name].shape))
            for name, tensor in bound.items():
                self._context.set_tensor_address(name, tensor.data_ptr())
            if not self._context.execute_async_v3(stream.cuda_stream):
                raise RuntimeError("TensorRT could not queue its work")
        return answer
