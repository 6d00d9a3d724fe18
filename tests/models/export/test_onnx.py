import hashlib
import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto

from models.errors import ExportError, ParityError
from models.export import export_onnx
from models.export.graph import to_onnx
from models.export.half import overflowing, to_half, underflowing
from models.parity import TOLERANCES


def by_onnx_runtime(path, x, sigma):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"x": x.numpy(), "sigma": sigma.numpy()})[0])


def test_the_file_answers_as_the_network_at_every_size_and_batch(tiny, tmp_path):
    network, info = tiny
    report = export_onnx(network, info, tmp_path / "tiny.onnx")
    for shape in ((1, 3, 4, 4), (2, 3, 20, 36), (5, 3, 8, 16)):
        x, sigma = torch.randn(*shape), torch.logspace(-2, 0.5, shape[0])
        answer = by_onnx_runtime(tmp_path / "tiny.onnx", x, sigma)
        torch.testing.assert_close(answer, network(x, sigma), rtol=0, atol=1e-4)
    assert report["sha256"] == hashlib.sha256((tmp_path / "tiny.onnx").read_bytes()).hexdigest()


def test_the_report_lies_beside_the_file(ready, tmp_path):
    report = export_onnx(*ready, tmp_path / "tiny.onnx")
    stored = json.loads((tmp_path / "tiny.onnx.json").read_text())
    assert stored == report
    sizes = {tuple(entry["shape"]) for entry in report["parity"]}
    levels = {entry["sigma"] for entry in report["parity"]}
    assert len(sizes) == 3 and len(levels) >= 5
    assert all(entry["rms_error"] < TOLERANCES["fp32"].rms for entry in report["parity"])
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["tiny.onnx", "tiny.onnx.json"]


def test_the_noise_level_zero_is_no_trouble(ready, tmp_path):
    export_onnx(*ready, tmp_path / "tiny.onnx")
    x = torch.rand(1, 3, 8, 8)
    torch.testing.assert_close(by_onnx_runtime(tmp_path / "tiny.onnx", x, torch.zeros(1)), x, rtol=0, atol=1e-3)


def test_nothing_of_this_machine_is_in_the_file(tiny_graph):
    data = tiny_graph.SerializeToString()
    assert b".py" not in data and b"torch" not in data


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_precision_convolves_in_half_and_keeps_the_ends_in_float32(ready, tmp_path, precision):
    network, info = ready
    report = export_onnx(network, info, tmp_path / "half.onnx", precision)
    model = onnx.load(tmp_path / "half.onnx")
    kind = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}[precision]
    values = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    types = {value.name: value.type.tensor_type.elem_type for value in values.value_info}
    convolved = [node for node in model.graph.node if node.op_type.startswith("Conv")]
    assert convolved and all(types[node.output[0]] == kind for node in convolved)
    # The embedding's features and the output scaling are worth their bits.
    for node in model.graph.node:
        if node.op_type in ("Log", "Sin", "Cos", "Sqrt", "Reciprocal"):
            assert types[node.output[0]] == TensorProto.FLOAT
    assert {value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)} == {
        TensorProto.FLOAT
    }
    assert max(report["psnr_lost"].values()) < TOLERANCES[precision].psnr
    assert max(entry["rms_error"] for entry in report["parity"]) > 1e-4


@pytest.mark.slow
def test_layers_beyond_the_range_of_float16_stay_in_float32(tiny, tmp_path):
    network, info = tiny
    # What is made a million times larger here is made as much smaller there.
    with torch.no_grad():
        for enlarging in (network.shrink[0], network.down[1][0].conv2, network.bottom[0].conv2, network.up[1][0].conv2):
            enlarging.weight.mul_(1e6)
        for reducing in (network.down[1][0].conv1, network.bottom[0].conv1, network.up[1][0].conv1, network.grow[0]):
            reducing.weight.mul_(1e-6)
    model = to_onnx(network, info)
    assert len(overflowing(model, info)) >= 4 and len(underflowing(model)) == 4
    export_onnx(network, info, tmp_path / "islands.onnx", "fp16")


def test_an_export_outside_the_tolerance_is_refused_and_leaves_nothing(ready, tmp_path, monkeypatch):
    network, info = ready

    def rounded(model, precision, facts):
        half = to_half(model, precision, facts)
        for tensor in half.graph.initializer:
            if tensor.data_type == TensorProto.FLOAT16 and len(tensor.dims) == 4:
                coarse = np.round(onnx.numpy_helper.to_array(tensor) * 4) / 4
                tensor.CopyFrom(onnx.numpy_helper.from_array(coarse.astype(np.float16), tensor.name))
        return half

    monkeypatch.setattr("models.export.half.to_half", rounded)
    with pytest.raises(ParityError, match="dB lost"):
        export_onnx(network, info, tmp_path / "coarse.onnx", "fp16")
    assert not [path for path in tmp_path.iterdir() if path.is_file()]


def test_an_unknown_precision_is_refused(tiny, tmp_path):
    with pytest.raises(ExportError, match="fp32"):
        export_onnx(*tiny, tmp_path / "x.onnx", "fp8")


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_diffusers_network_with_attention_exports(attending, tmp_path, precision):
    network, info = attending
    export_onnx(network, info, tmp_path / "attending.onnx", precision)
    x, sigma = torch.randn(2, 3, 16, 16), torch.tensor([0.1, 3.0])
    answer = by_onnx_runtime(tmp_path / "attending.onnx", x, sigma)
    torch.testing.assert_close(answer, network(x, sigma), rtol=0, atol=1e-4 if precision == "fp32" else 0.02)
