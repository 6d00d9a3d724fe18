"""A network as an ONNX graph in float32: preconditioning and noise embedding included, clipping left to the caller."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from models.denoiser import SMALLEST_SIGMA
from models.errors import ExportError
from restore.prior.protocol import PriorInfo

if TYPE_CHECKING:
    import onnx

#: Of the standard operators; GroupNormalization is exact since 21, but runtimes of 2024 know 20.
OPSET = 20
INPUTS, OUTPUT = ("x", "sigma"), "denoised"
#: A protocol buffer holds no more; larger networks would need files beside the file, which are refused on loading.
MOST_BYTES = 2**31 - 2**20


class Whole(nn.Module):
    """What is exported: x [N, 3, H, W] and sigma [N] to the denoised pictures.

    They are not clipped to [-1, 1], which would hide an overflow: infinity must be seen.

    Args:
        network: `forward(x, sigma)`.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        denoised: Tensor = self.network(x, sigma.clamp(min=SMALLEST_SIGMA))
        return denoised


def to_onnx(network: nn.Module, info: PriorInfo) -> onnx.ModelProto:
    """The graph of a network: inputs x [N, 3, H, W] and sigma [N], output denoised, all float32.

    N is free. H and W are any multiples of `info.multiple_of`, or `info.native_size`.

    Args:
        network: in float32 on the CPU, taking (x, sigma); not changed.
        info: its facts.

    Raises:
        ExportError: the network is too large for one file, or holds an operation that ONNX lacks.
    """
    size = sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())
    if size > MOST_BYTES:
        raise ExportError(f"{info.name} has {size / 2**30:.1f} GiB of weights; one ONNX file holds 2 GiB")
    try:
        import onnx
        import onnxscript  # noqa: F401 - the exporter of PyTorch needs it
    except ImportError as error:
        raise ExportError(f"exporting needs onnx and onnxscript ({error}); reinstall pellucid") from error
    whole = Whole(network).eval()
    example, shapes = _example(info)
    try:
        with torch.no_grad(), _silence():
            program = torch.onnx.export(
                whole, example, dynamo=True, dynamic_shapes=shapes, input_names=list(INPUTS),
                output_names=[OUTPUT], opset_version=OPSET, external_data=False, verbose=False,
            )  # fmt: skip
    except Exception as error:
        reason = str(error.__cause__ or error).strip().splitlines() or [type(error).__name__]
        raise ExportError(f"{info.name} cannot be exported to ONNX: {reason[0]}") from error
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    _clean(model)
    onnx.checker.check_model(model)
    return model


def _example(info: PriorInfo) -> tuple[tuple[Tensor, Tensor], dict[str, dict[int, Any]]]:
    """Example inputs, and which of their sizes are free. All sizes differ, so that none is taken for another."""
    batch = torch.export.Dim("N", min=1, max=4096)
    free: dict[int, Any] = {0: batch}
    if info.native_size is None:
        unit = info.multiple_of
        height, width = 8 * unit, 12 * unit
        free[2] = unit * torch.export.Dim("h", min=1, max=16384)
        free[3] = unit * torch.export.Dim("w", min=1, max=16384)
    else:
        height = width = info.native_size
    example = (torch.zeros(3, info.channels, height, width), torch.full((3,), 0.2))
    return example, {"x": free, "sigma": {0: batch}}


def _clean(model: onnx.ModelProto) -> None:
    """Leave out what the exporter tells about itself: paths of source files, names of modules, of this machine."""
    graph = model.graph
    for part in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer, graph, model):
        del part.metadata_props[:]
    for node in graph.node:
        node.doc_string = ""
    model.doc_string = graph.doc_string = ""
    model.producer_name, model.producer_version = "pellucid", ""


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """The exporter warns of its own internals and of libraries that are not needed."""
    names = ("torch.onnx", "onnxscript", "torch.export")
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
