"""Priors as files for other runtimes: `export_onnx`, `export_tensorrt` (in `models.export.tensor_rt`) and their parts.

Every file is checked against PyTorch and has a report of that beside it; one that answers otherwise is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.errors import ExportError

if TYPE_CHECKING:
    from torch import nn

    from models.export.int8 import Quantised
    from restore.prior.protocol import Denoiser, PriorInfo

FORMATS = ("onnx", "tensorrt")
PRECISIONS = ("fp32", "fp16", "bf16", "int8")

__all__ = ["FORMATS", "PRECISIONS", "calibrate", "export_onnx"]


def export_onnx(
    network: nn.Module, info: PriorInfo, path: Path, precision: str = "fp32", photographs: Sequence[Any] = ()
) -> dict[str, Any]:
    """Write a network as an ONNX file and the parity report beside it (NAME.onnx.json).

    Args:
        network: `forward(x [N, 3, H, W], sigma [N])`, float32 on the CPU; not changed.
        info: its facts.
        path: of the file.
        precision: one of `PRECISIONS`.
        photographs: uint8 HWC arrays that int8 is calibrated on. An int8 file is kept in the private folder as well,
            for the runtimes "openvino:int8" and "onnxruntime:int8".

    Returns:
        The report.

    Raises:
        ExportError: the network cannot be exported.
        ParityError: the exported network does not answer as the original; nothing is written.
        OutputError: the file cannot be written.
    """
    if precision not in PRECISIONS:
        raise ExportError(f"no precision {precision!r} for an ONNX file; choose one of {', '.join(PRECISIONS)}")
    from models.export.precisions import graph
    from models.export.report import describe, refuse_outside, write_all
    from models.parity import TOLERANCES, compare

    if precision == "int8":
        return _export_int8(network, info, path, photographs)
    model = graph(network, info, precision)
    data = model.SerializeToString()
    parity = compare(_original(network, info), _runnable(model, info, precision))
    refuse_outside(parity, TOLERANCES[precision], f"{info.name} in {precision}")
    report = describe(data, info, "onnx", precision, parity)
    write_all(path, data, report)
    return report


def _export_int8(network: nn.Module, info: PriorInfo, path: Path, photographs: Sequence[Any]) -> dict[str, Any]:
    from models.export.report import describe, write_all
    from models.runtime import cache

    made = _quantised(network, info, photographs)
    data = made.model.SerializeToString()
    facts = {
        "safe_from": made.safe_from,
        "convolutions": made.convolutions,
        "kept_in_float": list(made.kept),
        "photographs": len(photographs),
    }
    report = describe(data, info, "onnx", "int8", made.parity, **facts)
    write_all(path, data, report)
    cache.store_graph(cache.fingerprint(network), "int8", data, {"prior": info.name, "digest": info.digest, **facts})
    return report


def calibrate(network: nn.Module, info: PriorInfo, photographs: Sequence[Any]) -> dict[str, Any]:
    """What a shipped prior says of itself so that machines can make its int8 graph without photographs.

    Args:
        network: as for `export_onnx`.
        info: its facts.
        photographs: uint8 HWC arrays.

    Raises:
        ExportError: the network cannot be exported, or there are too few photographs.
        ParityError: int8 loses too much at every noise level.
    """
    made = _quantised(network, info, photographs)
    lost = {f"{level:g}": round(value, 4) for level, value in made.parity.by_level().items()}
    return {"digest": info.digest, **made.calibration.record(), "psnr_lost": lost, "photographs": len(photographs)}


def _quantised(network: nn.Module, info: PriorInfo, photographs: Sequence[Any]) -> Quantised:
    from models.export.int8 import crops, quantise
    from models.export.precisions import graph
    from models.runtime.onnx_runtime import OnnxRuntimeDenoiser

    def run(data: bytes) -> Denoiser:
        return OnnxRuntimeDenoiser(data, info, "cpu", "int8")

    return quantise(graph(network, info), info, crops(photographs, info), _original(network, info), run)


def _original(network: nn.Module, info: PriorInfo) -> Denoiser:
    """The network itself, untouched: `TorchDenoiser` changes the layout of what it is given."""
    import copy

    from models.denoiser import TorchDenoiser

    return TorchDenoiser(copy.deepcopy(network), info, "cpu", "fp32")


def _runnable(model: Any, info: PriorInfo, precision: str) -> Denoiser:
    """A graph as a denoiser on this machine, whatever its precision."""
    from models.runtime.onnx_runtime import OnnxRuntimeDenoiser

    if precision != "bf16":
        return OnnxRuntimeDenoiser(model.SerializeToString(), info, "cpu", precision)
    from models.export.half import rounding_in_float32

    # No CPU build of ONNX Runtime convolves in bfloat16.
    data = rounding_in_float32(model).SerializeToString()
    return OnnxRuntimeDenoiser(data, info, "cpu", precision, literal=True)
