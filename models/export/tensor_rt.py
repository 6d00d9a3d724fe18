"""TensorRT engines, built from ONNX graphs on the machine that runs them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from models.errors import ExportError
from models.runtime.tensor_rt import MAX_BATCH, TILE, TensorRtDenoiser, check_device, load_module, logger
from restore.prior.protocol import PriorInfo

if TYPE_CHECKING:
    from models.parity import Parity

PRECISIONS = ("fp32", "fp16", "bf16")
#: Scratch memory that a kernel may ask for while TensorRT chooses among them.
WORKSPACE = 4 << 30


def build_engine(
    graph: bytes, info: PriorInfo, device: torch.device, precision: str, tile: int = TILE, max_batch: int = MAX_BATCH
) -> bytes:
    """Compile a graph for the GPU at hand: fixed tile, any batch up to `max_batch`. Takes minutes.

    The network is strongly typed: what the graph computes in half precision is computed so, and its islands of float32
    stay. float32 means float32: TF32 is off.

    Args:
        graph: ONNX file, in the precision that the engine is to have.
        info: its facts.
        device: a CUDA device.
        precision: of the graph, one of `PRECISIONS`.
        tile: side of the tiles.
        max_batch: most tiles of a call.

    Raises:
        RuntimeUnavailableError: TensorRT is missing, or the device is no CUDA device.
        ExportError: the network has another size only, or TensorRT cannot compile it.
    """
    module = load_module()
    check_device(device)
    check_profile(info, precision, tile, max_batch)
    with torch.cuda.device(device):
        builder = module.Builder(logger(module))
        network = builder.create_network(1 << int(module.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        parser = module.OnnxParser(network, logger(module))
        if not parser.parse(graph):
            reasons = "; ".join(parser.get_error(i).desc() for i in range(parser.num_errors))
            raise ExportError(f"TensorRT cannot read the graph of {info.name}: {reasons}")
        config = builder.create_builder_config()
        config.set_memory_pool_limit(module.MemoryPoolType.WORKSPACE, WORKSPACE)
        config.clear_flag(module.BuilderFlag.TF32)
        config.add_optimization_profile(_profile(builder, info, tile, max_batch))
        engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise ExportError(f"TensorRT cannot compile {info.name} for {device}")
    return bytes(engine)


def _profile(builder: Any, info: PriorInfo, tile: int, max_batch: int) -> Any:
    """One to `max_batch` tiles; kernels are chosen for full batches."""
    profile = builder.create_optimization_profile()
    picture = (info.channels, tile, tile)
    profile.set_shape("x", (1, *picture), (max_batch, *picture), (max_batch, *picture))
    profile.set_shape("sigma", (1,), (max_batch,), (max_batch,))
    return profile


def check_profile(info: PriorInfo, precision: str, tile: int, max_batch: int) -> None:
    """Refuse what cannot be built.

    Raises:
        ExportError: a size or a precision that the network or TensorRT does not have.
    """
    if precision not in PRECISIONS:
        raise ExportError(f"no precision {precision!r} for an engine; choose one of {', '.join(PRECISIONS)}")
    if info.native_size is not None and tile != info.native_size:
        raise ExportError(f"{info.name} takes tiles of {info.native_size} pixels only, not {tile}")
    if tile < 1 or tile % info.multiple_of:
        raise ExportError(f"{info.name} takes tiles that are a multiple of {info.multiple_of} pixels, not {tile}")
    if max_batch < 1:
        raise ExportError(f"a batch holds at least one tile, not {max_batch}")


def export_tensorrt(
    network: nn.Module, info: PriorInfo, path: Path, precision: str = "fp16", *, device: torch.device,
    tile: int | None = None, max_batch: int = MAX_BATCH,
) -> dict[str, Any]:  # fmt: skip
    """Write an engine for the GPU at hand and the parity report beside it (NAME.json).

    Args:
        network: `forward(x [N, 3, H, W], sigma [N])`, float32 on the CPU; not changed.
        info: its facts.
        path: of the file.
        precision: one of `PRECISIONS`.
        device: a CUDA device.
        tile: side of its tiles; the network's own or 256 when None.
        max_batch: most tiles of a call.

    Raises:
        RuntimeUnavailableError: TensorRT is missing, or the device is no CUDA device.
        ExportError: the network cannot be exported.
        ParityError: the engine does not answer as the network does; nothing is written.
        OutputError: the file cannot be written.
    """
    load_module()
    check_device(device)
    side = tile or info.native_size or TILE
    check_profile(info, precision, side, max_batch)
    from models.export.report import describe, refuse_outside, write_all
    from models.parity import TOLERANCES
    from models.runtime.building import engine
    from models.runtime.measuring import hardware

    data = engine(network, info, device, precision, side, max_batch)
    parity = _compared(network, TensorRtDenoiser(data, info, device, precision, side), info, device)
    refuse_outside(parity, TOLERANCES[precision], f"{info.name} in {precision}")
    facts = {"tile": side, "max_batch": max_batch, "hardware": hardware(device)}
    report = describe(data, info, "tensorrt", precision, parity, **facts)
    write_all(path, data, report)
    return report


def _compared(network: nn.Module, denoiser: TensorRtDenoiser, info: PriorInfo, device: torch.device) -> Parity:
    import copy

    from models.denoiser import TorchDenoiser
    from models.parity import compare, sample_batches

    original = TorchDenoiser(copy.deepcopy(network), info, device, "fp32")
    return compare(original, denoiser, sample_batches(denoiser.info))
