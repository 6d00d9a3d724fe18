"""From a network and a choice to a denoiser."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from models.denoiser import TorchDenoiser, bf16_in_hardware
from models.loaders.onnx_file import OnnxNetwork
from models.runtime import cache
from models.runtime.graded import GradedDenoiser
from models.runtime.names import Choice
from restore.errors import RuntimeUnavailableError
from restore.prior.protocol import Denoiser, PriorInfo

#: Shipped priors, and how each says what its int8 graph is made with.
WEIGHTS = Path(__file__).parents[1] / "weights"
CALIBRATION_FILE = "int8.json"


def build_choice(choice: Choice, network: nn.Module, info: PriorInfo, device: torch.device | str) -> Denoiser:
    """The denoiser of a choice; see `models.runtime.build`."""
    place = torch.device(device)
    if isinstance(network, OnnxNetwork):
        return _from_file(choice, network, info, place)
    if choice.runtime == "auto":
        choice = fastest_known(network, place)
    match choice.runtime:
        case "torch":
            return TorchDenoiser(network, info, place, choice.precision)
        case "torch-compile":
            from models.runtime.torch_modes import CompiledDenoiser

            return CompiledDenoiser(network, info, place, choice.precision)
        case "torch-cudagraphs":
            from models.runtime.torch_modes import GraphedDenoiser

            return GraphedDenoiser(network, info, place, choice.precision)
        case "openvino":
            return _open_vino(choice, network, info, place)
        case "tensorrt":
            return _tensor_rt(choice, network, info, place)
        case "onnxruntime" | "onnxruntime-tensorrt":
            return _onnx_runtime(choice, network, info, place)
    raise RuntimeUnavailableError(f"the runtime {choice.runtime} cannot be built")


def _from_file(choice: Choice, network: OnnxNetwork, info: PriorInfo, device: torch.device) -> Denoiser:
    """A network that is there as an ONNX file only, in the precision that it has."""
    runtime = "onnxruntime" if choice.runtime == "auto" else choice.runtime
    if choice.precision not in ("auto", network.precision):
        raise RuntimeUnavailableError(
            f"{info.name} is an ONNX file in {network.precision}, not {choice.precision}; leave out the precision"
        )
    if runtime == "openvino" and device.type == "cpu":
        from models.runtime.open_vino import OpenVinoDenoiser

        return OpenVinoDenoiser(network.data, info, "int8" if network.precision == "int8" else "fp32")
    if runtime not in ("onnxruntime", "onnxruntime-tensorrt"):
        raise RuntimeUnavailableError(
            f"{info.name} is an ONNX file, which {runtime} does not run on {device}; choose auto or onnxruntime, or "
            "openvino on the CPU"
        )
    from models.runtime.onnx_runtime import OnnxRuntimeDenoiser

    tensorrt = runtime == "onnxruntime-tensorrt"
    engines = cache.folder("engines") if tensorrt else None
    return OnnxRuntimeDenoiser(network.data, info, device, network.precision, tensorrt=tensorrt, engines=engines)


def fastest_known(network: nn.Module, device: torch.device) -> Choice:
    """What "auto" is: what `models.runtime.measuring` has found here, or torch while nothing was measured."""
    from models.runtime.measuring import remembered

    found = remembered(network, device)
    return Choice("torch") if found is None else Choice.parse(found["chosen"])


def prepare(choice: Choice, network: nn.Module, info: PriorInfo, device: torch.device) -> None:
    """Make and keep what a choice needs besides the network, an exported graph."""
    if choice.precision == "int8":
        quantised(network, info)
        exported(network, info)
    elif choice.runtime == "openvino":
        exported(network, info)
    elif choice.runtime.startswith("onnxruntime"):
        exported(network, info, _onnx_precision(choice, device))


def exported(network: nn.Module, info: PriorInfo, precision: str = "fp32") -> bytes:
    """The ONNX file of a network, from the private folder or made now.

    Raises:
        ExportError: it cannot be exported.
    """
    mark = cache.fingerprint(network)
    stored = cache.stored_graph(mark, precision)
    if stored is not None:
        return stored[0]
    from models.export.precisions import graph

    data: bytes = graph(network, info, precision).SerializeToString()
    cache.store_graph(mark, precision, data, {"prior": info.name, "digest": info.digest, "precision": precision})
    return data


def quantised(network: nn.Module, info: PriorInfo) -> tuple[bytes, float]:
    """The int8 file of a network, and the noise level (0-255 scale) from which on it may be used.

    It is in the private folder, or made now where the prior comes with its calibration.

    Raises:
        RuntimeUnavailableError: neither: that takes photographs.
    """
    mark = cache.fingerprint(network)
    stored = cache.stored_graph(mark, "int8")
    if stored is not None:
        return stored[0], float(stored[1]["safe_from"])
    known = calibration_of(info.digest)
    if known is None:
        raise RuntimeUnavailableError(
            f"{info.name} was not quantised on this machine; "
            f"pellucid models export {info.name} FILE --precision int8 --calibration PHOTOGRAPHS does it"
        )
    import onnx

    from models.export.int8 import Calibration, apply

    calibration = Calibration.from_record(known)
    data: bytes = apply(onnx.load_from_string(exported(network, info)), calibration).SerializeToString()
    facts = {"prior": info.name, "digest": info.digest, "safe_from": calibration.safe_from}
    cache.store_graph(mark, "int8", data, facts)
    return data, calibration.safe_from


def can_quantise(network: nn.Module, info: PriorInfo) -> bool:
    """Whether `quantised` has what it takes."""
    return calibration_of(info.digest) is not None or cache.stored_graph(cache.fingerprint(network), "int8") is not None


def calibration_of(digest: str) -> dict[str, Any] | None:
    """The calibration (`models.export.int8.Calibration.record`) that a shipped prior comes with.

    Args:
        digest: of the prior's weights.
    """
    for path in WEIGHTS.glob(f"*/{CALIBRATION_FILE}"):
        known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if known["digest"] == digest:
            return known
    return None


def _open_vino(choice: Choice, network: nn.Module, info: PriorInfo, device: torch.device) -> Denoiser:
    if device.type != "cpu":
        raise RuntimeUnavailableError(f"openvino runs on the CPU, not on {device}")
    from models.runtime.open_vino import OpenVinoDenoiser, graded, load_module

    load_module()  # before a long export
    floating = "bf16" if bf16_in_hardware(device) else "fp32"
    precision = floating if choice.precision == "auto" else choice.precision
    if precision == "int8":
        data, safe_from = quantised(network, info)
        return graded(OpenVinoDenoiser(data, info, "int8"), exported(network, info), safe_from, floating)
    return OpenVinoDenoiser(exported(network, info), info, precision)


def _onnx_runtime(choice: Choice, network: nn.Module, info: PriorInfo, device: torch.device) -> Denoiser:
    from models.runtime.onnx_runtime import OnnxRuntimeDenoiser, load_module

    load_module()
    precision, tensorrt = _onnx_precision(choice, device), choice.runtime == "onnxruntime-tensorrt"
    if precision == "int8":
        data, safe_from = quantised(network, info)
        below = exported(network, info)
        coarse = OnnxRuntimeDenoiser(data, info, device, "int8")
        return GradedDenoiser(
            coarse, lambda: OnnxRuntimeDenoiser(below, info, device), safe_from, "onnxruntime", "int8+fp32"
        )
    data = exported(network, info, precision)
    engines = cache.folder("engines") if tensorrt else None
    return OnnxRuntimeDenoiser(data, info, device, precision, tensorrt=tensorrt, engines=engines)


def _tensor_rt(choice: Choice, network: nn.Module, info: PriorInfo, device: torch.device) -> Denoiser:
    from models.runtime.tensor_rt import MAX_BATCH, TILE, TensorRtDenoiser, check_device, load_module

    load_module()
    check_device(device)
    precision = "fp16" if choice.precision == "auto" else choice.precision
    tile = info.native_size or TILE
    return TensorRtDenoiser(engine(network, info, device, precision, tile, MAX_BATCH), info, device, precision, tile)


def engine(
    network: nn.Module, info: PriorInfo, device: torch.device, precision: str, tile: int, max_batch: int
) -> bytes:
    """The TensorRT engine of a network for a GPU, from the private folder or built now, which takes minutes.

    It is found again by network, versions, GPU and profile; what was built for others does not count. It comes from
    nowhere else: an engine is machine code.

    Raises:
        ExportError: the network cannot be exported, or the engine not be built.
    """
    from models.export.tensor_rt import build_engine
    from models.runtime.measuring import hardware

    facts = {
        "network": cache.fingerprint(network), "precision": precision, "tile": tile, "max_batch": max_batch,
        "hardware": hardware(device), "versions": cache.versions(*cache.EXPORTERS, "tensorrt"),
    }  # fmt: skip
    name = f"{cache.key(**facts)}.engine"
    kept = cache.stored("engines", name)
    if kept is not None:
        return kept[0]
    data = build_engine(exported(network, info, precision), info, device, precision, tile, max_batch)
    cache.store("engines", name, data, facts)
    return data


def _onnx_precision(choice: Choice, device: torch.device) -> str:
    if choice.precision != "auto":
        return choice.precision
    return "fp16" if device.type == "cuda" else "fp32"
