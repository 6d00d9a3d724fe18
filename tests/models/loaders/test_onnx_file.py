"""An ONNX file of a denoiser as a prior: inspected, tested, registered, run by what runs such files."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from models import self_test
from models.errors import SelfTestError, UnsafeNetworkFileError, UnsupportedNetworkError
from models.export import export_onnx
from models.loaders import load
from models.loaders.loaded import LoadOptions
from models.registry import load_denoiser, load_folder, prior_facts
from models.registry.add import add
from models.self_test import photographs
from restore import Restorer
from restore.errors import CorruptWeightsError, ParameterError, RuntimeUnavailableError
from tests.models.export.conftest import ready  # noqa: F401

FLOAT = TensorProto.FLOAT


def smoother(side=None, batch="N", names=("x", "sigma"), output="denoised", channels=3, strength=1.0, tensors=()):
    """x + w (mean of 3x3 - x), w growing with the noise: hand-made, it denoises a little."""
    size = [batch, channels, side or "H", side or "W"]
    constants = {"level": 0.02, "strength": strength}
    weights = [numpy_helper.from_array(np.float32(value), name) for name, value in constants.items()]
    weights.append(numpy_helper.from_array(np.array([-1, 1, 1, 1]), "column"))
    x, sigma = names
    nodes = [
        helper.make_node("AveragePool", [x], ["mean"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Mul", [sigma, sigma], ["variance"]),
        helper.make_node("Add", ["variance", "level"], ["total"]),
        helper.make_node("Div", ["variance", "total"], ["share"]),
        helper.make_node("Reshape", ["share", "column"], ["weight"]),
        helper.make_node("Sub", ["mean", x], ["step"]),
        helper.make_node("Mul", ["weight", "step"], ["scaled"]),
        helper.make_node("Mul", ["scaled", "strength"], ["stepped"]),
        helper.make_node("Add", [x, "stepped"], [output]),
    ]
    inputs = [helper.make_tensor_value_info(x, FLOAT, size), helper.make_tensor_value_info(sigma, FLOAT, [batch])]
    outputs = [helper.make_tensor_value_info(output, FLOAT, size)]
    graph = helper.make_graph(nodes, "smoother", inputs, outputs, [*weights, *tensors])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture
def private(tmp_path, monkeypatch):
    monkeypatch.setenv("PELLUCID_PRIORS", str(tmp_path / "priors"))
    return tmp_path / "priors"


@pytest.fixture
def written(tmp_path):
    def write(**given):
        onnx.save(smoother(**given), tmp_path / "mine.onnx")
        return tmp_path / "mine.onnx"

    return write


def test_from_a_file_to_a_restored_picture(written, private, monkeypatch):
    monkeypatch.setattr(self_test, "SIDE", 64)
    added = add(written(), "mine", licence="CC0-1.0", levels=3, device="cpu")
    assert added.test.passed and "an ONNX network of 9 operations in fp32" in added.found
    assert any("sigma_max 10, which the file does not say" in sentence for sentence in added.assumed)
    facts = prior_facts("mine")
    assert (facts.family, facts.multiple_of, facts.native_size, facts.measured) == ("ONNX", 1, None, True)
    assert set(facts.files) == {"mine.onnx", "error_table.json"} and facts.weights_file == "mine.onnx"
    prior = load_denoiser("mine", device="cpu")
    assert prior.info.runtime == "onnxruntime:fp32" and prior.info.digest == facts.digest
    assert prior.info.error_table is not None
    picture = (photographs()[0][None, :, :41, :33] + 1) / 2
    report = Restorer.from_pretrained("mine", device="cpu").super_resolve(picture, scale=2, steps=2).report
    assert (report["prior"], report["runtime"], report["nfe"], report["warnings"]) == (
        "mine", "onnxruntime:fp32", 2, [],
    )  # fmt: skip
    (private / "mine" / "mine.onnx").write_bytes(b"other")
    with pytest.raises(CorruptWeightsError, match="not the registered file"):
        load_denoiser("mine", device="cpu")


def test_it_answers_as_the_network_that_it_was_exported_from(ready, tmp_path):  # noqa: F811
    network, info = ready
    export_onnx(network, info, tmp_path / "tiny.onnx")
    loaded = load(tmp_path / "tiny.onnx")
    known = loaded.info
    assert (known.multiple_of, known.sigma_min, known.sigma_max) == (info.multiple_of, info.sigma_min, info.sigma_max)
    assert loaded.assumed == () and "described by its parity report" in loaded.found
    prior = load_folder(tmp_path / "tiny.onnx", device="cpu")
    x, sigma = torch.randn(2, 3, 21, 37), torch.tensor([0.1, 0.7])
    torch.testing.assert_close(
        prior(x, sigma), load_folder_of(network, info)(x, sigma), rtol=0, atol=1e-4
    )  # fmt: skip
    (tmp_path / "tiny.onnx.json").unlink()
    assert load(tmp_path / "tiny.onnx").info.multiple_of == info.multiple_of  # found by trying


def load_folder_of(network, info):
    from models.denoiser import TorchDenoiser

    return TorchDenoiser(network, info, "cpu", "fp32")


def test_a_report_of_another_file_is_not_believed_and_a_damaged_one_refused(written):
    path = written()
    report = {"sha256": "0" * 64, "prior": {"sigma_min": 1, "sigma_max": 2, "multiple_of": 16, "native_size": None}}
    path.with_name("mine.onnx.json").write_text(json.dumps(report))
    assert load(path).info.sigma_max == 10.0
    path.with_name("mine.onnx.json").write_text("{")
    with pytest.raises(CorruptWeightsError, match="no parity report"):
        load(path)


def test_one_of_a_fixed_size_runs_in_tiles(written):
    prior = load_folder(written(side=16), device="cpu")
    assert prior.info.native_size is None and prior.denoiser.info.native_size == 16
    assert prior(torch.zeros(1, 3, 40, 23), torch.ones(1)).shape == (1, 3, 40, 23)
    with pytest.raises(ParameterError, match="16 pixels, not 32"):
        load(written(side=16), options=LoadOptions(native_size=32))


def test_options_say_what_the_file_does_not(written):
    options = LoadOptions.parse({"sigma_min": 0.02, "sigma_max": 3, "multiple_of": 4})
    loaded = load(written(), options=options)
    assert (loaded.info.sigma_min, loaded.info.sigma_max, loaded.info.multiple_of) == (0.02, 3.0, 4)
    assert loaded.assumed == ()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"names": ("input", "sigma")}, "inputs input, sigma"),
        ({"output": "y"}, "outputs y"),
        ({"batch": 1}, r"\[1, 3, H, W\]"),
        ({"channels": 1}, r"\[N, 1, H, W\]"),
    ],
)
def test_what_is_no_denoiser_is_refused(written, given, said):
    with pytest.raises(UnsupportedNetworkError, match=said):
        load(written(**given))


def test_what_does_more_than_compute_is_refused(written, tmp_path, private):
    tensor = numpy_helper.from_array(np.zeros(1, np.float32), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../etc/passwd"
    # onnx.save would look for the other file.
    (tmp_path / "evil.onnx").write_bytes(smoother(tensors=[tensor]).SerializeToString())
    for use in (lambda path: load(path), lambda path: add(path, "evil", device="cpu")):
        with pytest.raises(UnsafeNetworkFileError, match="another file"):
            use(tmp_path / "evil.onnx")
    model = smoother()
    model.graph.node[0].domain = "ai.evil"
    (tmp_path / "evil.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(UnsafeNetworkFileError, match="custom operator"):
        load(tmp_path / "evil.onnx")
    (tmp_path / "evil.onnx").write_bytes(b"<html>")
    with pytest.raises(CorruptWeightsError):
        load(tmp_path / "evil.onnx")
    assert not list(private.glob("*evil*"))


def test_what_does_not_denoise_is_not_registered(written, private, monkeypatch):
    monkeypatch.setattr(self_test, "SIDE", 32)
    with pytest.raises(SelfTestError):
        add(written(strength=-1.0), "mine", device="cpu")
    assert not list(private.glob("*mine*.json"))


def test_other_runtimes_and_precisions_than_it_has_are_refused(written):
    path = written()
    assert load_folder(path, device="cpu", runtime="onnxruntime:fp32").info.runtime == "onnxruntime:fp32"
    assert load_folder(path, device="cpu", runtime="openvino").info.runtime == "openvino:fp32"
    for runtime, said in (("torch", "torch does not run"), ("onnxruntime:int8", "in fp32, not int8")):
        with pytest.raises(RuntimeUnavailableError, match=said):
            load_folder(path, device="cpu", runtime=runtime)
