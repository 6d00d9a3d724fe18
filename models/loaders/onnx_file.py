"""ONNX files of denoisers: noisy x [N, 3, H, W] and sigma [N] in, denoised out, as `pellucid models export` writes.

The file stays what it is: ONNX Runtime or OpenVINO runs it, PyTorch does not. What it may hold is decided by
`models.runtime.onnx_files`.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from models.errors import UnsupportedNetworkError
from models.loaders.loaded import LoadedPrior, LoadOptions
from models.runtime.onnx_files import check
from restore.errors import CorruptWeightsError, ParameterError
from restore.prior.protocol import PriorInfo

if TYPE_CHECKING:
    import onnx

FAMILY = "ONNX"
INPUTS, OUTPUT = {"x": 4, "sigma": 1}, "denoised"
#: Tried when nobody says what height and width must be divisible by.
MULTIPLES = (1, 2, 4, 8, 16, 32, 64)
#: Taken where nobody says what it was trained on: the embedded prior's range.
SIGMA_MIN, SIGMA_MAX = 0.005, 10.0
#: Nobody says how far it looks; tiles then blend over all that they share.
RECEPTIVE_FIELD = 1024


class OnnxNetwork(nn.Module):
    """The place of a network that is only there as an ONNX file; `models.runtime.build` runs it.

    Args:
        data: the file's content, checked.
        precision: what its weights are in: "fp32", "fp16", "bf16" or "int8".
    """

    def __init__(self, data: bytes, precision: str) -> None:
        super().__init__()
        self.data, self.precision = data, precision

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Not here.

        Raises:
            UnsupportedNetworkError: always.
        """
        raise UnsupportedNetworkError("an ONNX file is run by ONNX Runtime or OpenVINO, not by PyTorch")


def load(path: Path, name: str, options: LoadOptions) -> LoadedPrior:
    """The prior in an ONNX file; what its parity report (NAME.onnx.json) says of it is believed if it is the file's.

    Args:
        path: of the file.
        name: of the prior.
        options: `native_size`, `multiple_of`, `sigma_min` and `sigma_max` are used.

    Raises:
        CorruptWeightsError: no such file, no ONNX network, or a damaged report.
        UnsafeNetworkFileError: it does more than compute.
        UnsupportedNetworkError: other inputs or outputs than a denoiser's.
        ParameterError: an option that contradicts the file.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CorruptWeightsError(f"{path} cannot be read ({error.strerror})") from error
    model = check(data, str(path))
    native = _side(model, path)
    if options.native_size is not None and native not in (None, options.native_size):
        raise ParameterError(f"{path} takes pictures of {native} pixels, not {options.native_size}")
    report = _report(path, data)
    network = OnnxNetwork(data, _precision(model))
    native = native or options.native_size or report.get("native_size")
    assumed: list[str] = []

    def settled(key: str, otherwise: Any) -> Any:
        given = getattr(options, key)
        if given is not None:
            return given
        if key in report:
            return report[key]
        assumed.append(f"{key} {otherwise:g}, which the file does not say")
        return otherwise

    multiple = options.multiple_of or report.get("multiple_of") or (1 if native else _multiple(network, path))
    info = PriorInfo(
        name, sigma_min=float(settled("sigma_min", SIGMA_MIN)), sigma_max=float(settled("sigma_max", SIGMA_MAX)),
        multiple_of=multiple, native_size=native, receptive_field=RECEPTIVE_FIELD,
    )  # fmt: skip
    found = [f"an ONNX network of {len(model.graph.node)} operations in {network.precision}"]
    found.append(f"for tiles of {native} pixels" if native else f"for sizes divisible by {multiple}")
    if report:
        found.append("described by its parity report")
    return LoadedPrior(
        network, info, FAMILY, _parameters(model), "sample", "continuous noise levels", (path,), tuple(found),
        tuple(assumed), {}, network,
    )  # fmt: skip


def _side(model: onnx.ModelProto, path: Path) -> int | None:
    """The only side it takes; None when any.

    Raises:
        UnsupportedNetworkError: other inputs or outputs than a denoiser's.
    """
    import onnx

    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = {value.name: value for value in model.graph.input if value.name not in weights}
    outputs = [value.name for value in model.graph.output]
    shapes = {name: list(value.type.tensor_type.shape.dim) for name, value in inputs.items()}
    fitting = all(
        inputs[name].type.tensor_type.elem_type == onnx.TensorProto.FLOAT and len(shapes[name]) == rank
        for name, rank in INPUTS.items() if name in inputs
    )  # fmt: skip
    if inputs.keys() != INPUTS.keys() or outputs != [OUTPUT] or not fitting:
        raise UnsupportedNetworkError(
            f"{path} is no denoiser: inputs {', '.join(inputs) or 'none'}, outputs {', '.join(outputs) or 'none'}; x "
            "[N, 3, H, W] and sigma [N] in and denoised out, all float32, are needed, as pellucid models export writes"
        )
    batch, channels, height, width = (dim.dim_value if dim.HasField("dim_value") else 0 for dim in shapes["x"])
    if batch or channels not in (0, 3) or height != width:
        raise UnsupportedNetworkError(
            f"{path} takes x of shape [{batch or 'N'}, {channels or 'C'}, {height or 'H'}, {width or 'W'}]; any number "
            "of pictures with three channels, of any size or of one square size, is needed"
        )
    return int(height) or None


def _report(path: Path, data: bytes) -> dict[str, Any]:
    """Facts from the report beside a file, if it is this file's."""
    beside = path.with_name(f"{path.name}.json")
    if not beside.is_file():
        return {}
    try:
        report = json.loads(beside.read_text(encoding="utf-8"))
        if report["sha256"] != hashlib.sha256(data).hexdigest():
            return {}
        prior = report["prior"]
        facts: dict[str, Any] = {key: float(prior[key]) for key in ("sigma_min", "sigma_max")}
        facts |= {key: int(prior[key]) for key in ("multiple_of", "native_size") if prior[key] is not None}
        if "safe_from" in report:  # below, an int8 network's rounding shows
            facts["sigma_min"] = max(facts["sigma_min"], float(report["safe_from"]) / 127.5)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptWeightsError(f"{beside} is no parity report ({error}); remove it, or export again") from error
    return facts


def _precision(model: onnx.ModelProto) -> str:
    import onnx

    kinds = {tensor.data_type for tensor in model.graph.initializer}
    if any(node.op_type in ("QuantizeLinear", "DynamicQuantizeLinear", "QLinearConv") for node in model.graph.node):
        return "int8"
    if onnx.TensorProto.BFLOAT16 in kinds:
        return "bf16"
    return "fp16" if onnx.TensorProto.FLOAT16 in kinds else "fp32"


def _parameters(model: onnx.ModelProto) -> int:
    return sum(int(torch.Size(tensor.dims).numel()) for tensor in model.graph.initializer)


def _multiple(network: OnnxNetwork, path: Path) -> int:
    """What height and width must be divisible by, found by trying.

    Raises:
        UnsupportedNetworkError: it answers at none of the sizes.
    """
    from models.runtime.onnx_runtime import OnnxRuntimeDenoiser

    session = OnnxRuntimeDenoiser(network.data, PriorInfo(path.name), "cpu", network.precision)
    reason = ""
    for multiple in MULTIPLES:
        x = torch.zeros(2, 3, 64 + multiple, 64 + 2 * multiple)
        try:
            answer = session(x, torch.full((2,), 0.5))
        except Exception as error:  # its exceptions have no common base of their own
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            continue
        if answer.shape == x.shape:
            return multiple
    raise UnsupportedNetworkError(f"{path} answers at no size that was tried: {reason or 'answers of other sizes'}")
