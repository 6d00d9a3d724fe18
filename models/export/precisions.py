"""The graph of a network in each precision."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from models.errors import ExportError
from models.export.graph import to_onnx
from restore.prior.protocol import PriorInfo

if TYPE_CHECKING:
    import onnx


def graph(network: nn.Module, info: PriorInfo, precision: str = "fp32") -> onnx.ModelProto:
    """The ONNX graph of a network.

    Args:
        network: see `models.export.graph.to_onnx`.
        info: its facts.
        precision: "fp32", "fp16" or "bf16".

    Raises:
        ExportError: it cannot be exported, or not in this precision.
    """
    model = to_onnx(network, info)
    if precision == "fp32":
        return model
    if precision in ("fp16", "bf16"):
        from models.export.half import to_half

        return to_half(model, precision, info)
    raise ExportError(f"no precision {precision!r} for a graph; choose fp32, fp16 or bf16")
