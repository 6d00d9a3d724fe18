"""ONNX Runtime: on CPUs, on CUDA devices, and with TensorRT below it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from models.runtime.external import ExternalDenoiser
from restore.errors import RuntimeUnavailableError
from restore.prior.protocol import PriorInfo

if TYPE_CHECKING:
    import onnxruntime

#: Distributions that install one and the same module.
DISTRIBUTIONS = ("onnxruntime", "onnxruntime-gpu")
NAME, NAME_TENSORRT = "onnxruntime", "onnxruntime-tensorrt"
#: Fatal messages only: the providers warn of every operator they leave to the CPU on purpose.
LOG_SEVERITY = 4


def load_module() -> Any:
    """The module onnxruntime, of one distribution only.

    Raises:
        RuntimeUnavailableError: none is installed, or two that have overwritten each other's files.
    """
    both = []
    for distribution in DISTRIBUTIONS:
        try:
            both.append(f"{distribution} {metadata.version(distribution)}")
        except metadata.PackageNotFoundError:
            continue
    if len(both) > 1:
        raise RuntimeUnavailableError(
            f"{' and '.join(both)} are both installed and overwrite each other: "
            "pip uninstall onnxruntime onnxruntime-gpu, then install the one you want"
        )
    try:
        import onnxruntime
    except ImportError as error:
        raise RuntimeUnavailableError(f"ONNX Runtime cannot be imported ({error}); pip install onnxruntime") from error
    return onnxruntime


class OnnxRuntimeDenoiser(ExternalDenoiser):
    """A network run by ONNX Runtime.

    On a CUDA device inputs and outputs are bound to the tensors' own memory: nothing is copied to the host.

    Args:
        data: the ONNX file's content, checked before (`models.runtime.onnx_files`).
        info: facts of the network.
        device: "cpu" or "cuda:N".
        precision: what the graph computes in, as reported.
        tensorrt: whether TensorRT compiles the graph.
        engines: private folder that TensorRT keeps its engines in; nowhere when None.
        literal: compute every operation as it is written, none fused or left out (slow; for checks).

    Raises:
        RuntimeUnavailableError: ONNX Runtime is missing, installed twice, or cannot use the device or the graph.
    """

    def __init__(
        self, data: bytes, info: PriorInfo, device: torch.device | str, precision: str = "fp32", *,
        tensorrt: bool = False, engines: Path | None = None, literal: bool = False,
    ) -> None:  # fmt: skip
        place = torch.device(device)
        if place.type == "cuda" and place.index is None:
            place = torch.device("cuda", torch.cuda.current_device())
        super().__init__(info, NAME_TENSORRT if tensorrt else NAME, precision, place)
        module = load_module()
        providers = _providers(place, precision, engines, tensorrt)
        missing = {name for name, _ in providers} - set(module.get_available_providers())
        if missing:
            raise RuntimeUnavailableError(
                f"this ONNX Runtime has no {sorted(missing)[0]}; pip install 'pellucid[gpu]' after "
                "pip uninstall onnxruntime"
            )
        options = module.SessionOptions()
        options.log_severity_level = LOG_SEVERITY
        options.intra_op_num_threads = torch.get_num_threads()
        if literal:
            options.graph_optimization_level = module.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            self._session: onnxruntime.InferenceSession = module.InferenceSession(data, options, providers=providers)
        except Exception as error:  # its exceptions have no common base of their own
            raise RuntimeUnavailableError(f"ONNX Runtime cannot run {info.name}: {_first(error)}") from error
        used = self._session.get_providers()
        if used[0] != providers[0][0]:
            raise RuntimeUnavailableError(f"ONNX Runtime would run {info.name} with {used[0]}, not {providers[0][0]}")

    def _infer(self, x: Tensor, sigma: Tensor) -> Tensor:
        if self.device.type == "cuda":
            return self._bound(x, sigma)
        (answer,) = self._session.run(None, {"x": x.numpy(), "sigma": sigma.numpy()})
        return torch.from_numpy(answer)

    def _bound(self, x: Tensor, sigma: Tensor) -> Tensor:
        binding, answer = self._session.io_binding(), torch.empty_like(x)
        where: dict[str, Any] = {"device_type": "cuda", "device_id": self.device.index, "element_type": np.float32}
        for name, tensor in (("x", x), ("sigma", sigma)):
            binding.bind_input(name=name, shape=tuple(tensor.shape), buffer_ptr=tensor.data_ptr(), **where)
        binding.bind_output(name="denoised", shape=tuple(answer.shape), buffer_ptr=answer.data_ptr(), **where)
        # The session has a stream of its own: it must not read before torch has written, nor the other way round.
        torch.cuda.current_stream(self.device).synchronize()
        self._session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        return answer


def _providers(
    device: torch.device, precision: str, engines: Path | None, tensorrt: bool
) -> list[tuple[str, dict[str, Any]]]:
    if device.type == "cpu":
        if tensorrt:
            raise RuntimeUnavailableError("TensorRT runs on CUDA devices only, not on the CPU")
        return [("CPUExecutionProvider", {})]
    # TensorFloat-32 has no more bits than float16.
    cuda = ("CUDAExecutionProvider", {"device_id": device.index, "use_tf32": 0})
    if not tensorrt:
        return [cuda]
    settings: dict[str, Any] = {"device_id": device.index, "trt_fp16_enable": precision == "fp16"}
    if engines is not None:
        settings |= {"trt_engine_cache_enable": True, "trt_engine_cache_path": str(engines)}
        settings |= {"trt_timing_cache_enable": True, "trt_timing_cache_path": str(engines)}
    return [("TensorrtExecutionProvider", settings), cuda]


def _first(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def values_of(model: Any, names: list[str], calls: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Values inside a graph on the CPU, by name, call after call.

    Args:
        model: an `onnx.ModelProto` in float32; not changed.
        names: of the values.
        calls: the inputs of each.
    """
    import onnx

    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    probe.graph.output.extend(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names)
    module = load_module()
    options = module.SessionOptions()
    options.log_severity_level = LOG_SEVERITY
    session = module.InferenceSession(probe.SerializeToString(), options, providers=["CPUExecutionProvider"])
    for inputs in calls:
        yield dict(zip(names, session.run(names, inputs), strict=True))
