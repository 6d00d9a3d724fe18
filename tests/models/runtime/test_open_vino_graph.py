"""How graphs are compiled by OpenVINO."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import torch

from models.export.graph import to_onnx
from models.export.int8 import Calibration, apply
from models.runtime import open_vino_graph
from models.runtime.open_vino_graph import HINTS, compile_request
from models.unet import DenoisingUNet
from tests.models.conftest import network_info, tiny_network

openvino = pytest.importorskip("openvino")


@pytest.fixture(scope="module", params=["silu", "hardswish"])
def graph(request: pytest.FixtureRequest) -> bytes:
    """A network whose convolutions are in int8, but the first and the last."""
    torch.manual_seed(0)
    network: Any = tiny_network()
    if request.param == "hardswish":
        network = DenoisingUNet((8, 12), (1, 1), 1, embedding=16, activation="hardswish", modulation="levels")
        torch.nn.init.normal_(network.tail.weight, std=0.1)
    model = to_onnx(network.eval(), network_info(network, "tiny"))
    count = sum(node.op_type == "Conv" for node in model.graph.node)
    content: bytes = apply(model, Calibration(((-3.0, 3.0),) * count, (0, count - 1), 0.0)).SerializeToString()
    return content


def answer(graph: bytes) -> np.ndarray[Any, Any]:
    x = torch.randn(2, 3, 32, 40, generator=torch.Generator().manual_seed(1)).numpy()
    request = compile_request(graph, "tiny", HINTS["fp32"], 1)
    return np.array(request.infer({"x": x, "sigma": np.array([0.1, 0.5], np.float32)})[0])


def test_values_read_by_others_too_are_quantised_in_place_without_another_answer(
    graph: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = openvino.Core().read_model(graph, b"")
    quantised = [node for node in model.get_ordered_ops() if node.get_type_name() == "FakeQuantize"]
    shared = [node for node in quantised if len(node.input_value(0).get_target_inputs()) > 1]
    assert 0 < len(shared) < len(quantised)
    open_vino_graph._fuse_quantisation(openvino, model)
    names = [node.input_value(0).get_node().get_type_name() for node in quantised]
    assert names.count("Minimum") == len(shared)
    mended = answer(graph)
    monkeypatch.setattr(open_vino_graph, "_fuse_quantisation", lambda *_: None)
    np.testing.assert_array_equal(mended, answer(graph))


def test_halves_of_the_modulation_are_given_the_pictures_layout_without_another_answer(
    graph: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = openvino.Core().read_model(graph, b"")
    halves = [half for node in model.get_ordered_ops() if node.get_type_name() == "Split" for half in node.outputs()]
    assert halves
    open_vino_graph._fuse_modulation(openvino, model)
    for half in halves:
        assert [reader.get_node().get_type_name() for reader in half.get_target_inputs()] == ["GroupConvolution"]
    fused = answer(graph)
    monkeypatch.setattr(open_vino_graph, "_fuse_modulation", lambda *_: None)
    np.testing.assert_allclose(fused, answer(graph), rtol=0, atol=1e-5)


def test_other_splits_are_left_alone() -> None:
    operations = openvino.opset13
    x = operations.parameter([-1, 6, -1, -1], np.float32)
    vector = operations.parameter([-1, 6], np.float32)
    parts = [half for split in (operations.split(x, 1, 2), operations.split(vector, 1, 2)) for half in split.outputs()]
    model = openvino.Model([operations.result(part) for part in parts], [x, vector])
    open_vino_graph._fuse_modulation(openvino, model)
    assert "GroupConvolution" not in {node.get_type_name() for node in model.get_ordered_ops()}


def kinds(model: Any) -> list[str]:
    return [node.get_type_name() for node in model.get_ordered_ops()]


def test_pixels_are_moved_into_channels_by_one_operation_without_another_answer(
    tiny_graph: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = tiny_graph.SerializeToString()
    model = openvino.Core().read_model(content, b"")
    convolutions = [
        node for node in model.get_ordered_ops() if node.get_type_name() == "Convolution" and node.get_strides()[0] == 2
    ]
    assert convolutions and kinds(model).count("Transpose") == 1
    open_vino_graph._unshuffle(openvino, model)
    assert kinds(model).count("SpaceToDepth") == 1 and "Transpose" not in kinds(model)
    open_vino_graph._convolve_unshuffled(openvino, model)
    assert kinds(model).count("SpaceToDepth") == 1 + len(convolutions)
    faster = answer(content)
    monkeypatch.setattr(open_vino_graph, "_unshuffle", lambda *_: None)
    monkeypatch.setattr(open_vino_graph, "_convolve_unshuffled", lambda *_: None)
    np.testing.assert_allclose(faster, answer(content), rtol=0, atol=1e-5)


@pytest.mark.parametrize("block", [2, 3])
def test_every_block_is_unshuffled(block: int) -> None:
    """Both ways of moving pixels into channels, next to what they stand for."""
    x = torch.randn(2, 3, 4 * block, 2 * block)
    kernel = torch.randn(5, 3, block, block)
    operations = openvino.opset13
    picture = operations.parameter([-1, 3, -1, -1], np.float32)
    split = operations.reshape(picture, np.array([2, 3, 4, block, 2, block]), False)
    moved = operations.transpose(split, np.array([0, 1, 3, 5, 2, 4]))
    unshuffled = operations.reshape(moved, np.array([2, 3 * block**2, 4, 2]), False)
    convolved = operations.convolution(picture, kernel.numpy(), [block] * 2, [0, 0], [0, 0], [1, 1])
    model = openvino.Model([operations.result(unshuffled), operations.result(convolved)], [picture])
    open_vino_graph._unshuffle(openvino, model)
    open_vino_graph._convolve_unshuffled(openvino, model)
    assert kinds(model).count("SpaceToDepth") == 2
    answers = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([x.numpy()])
    torch.testing.assert_close(torch.tensor(answers[0]), torch.nn.functional.pixel_unshuffle(x, block))
    wanted = torch.nn.functional.conv2d(x, kernel, stride=block)
    torch.testing.assert_close(torch.tensor(answers[1]), wanted, rtol=1e-4, atol=1e-5)


def test_other_transpositions_and_convolutions_are_left_alone() -> None:
    operations = openvino.opset13
    x = operations.parameter([-1, 4, -1, -1], np.float32)
    split = operations.parameter([1, 4, -1, 2, -1, 3], np.float32)
    moved = operations.transpose(split, np.array([0, 1, 3, 5, 2, 4]))
    uneven = operations.reshape(moved, np.array([1, 24, -1, 1]), False)
    ones = {size: np.ones((4, 4, size, size), np.float32) for size in (1, 2, 3)}
    parts = [
        operations.transpose(x, np.array([0, 2, 3, 1])),
        uneven,
        operations.convolution(x, ones[1], [1, 1], [0, 0], [0, 0], [1, 1]),
        operations.convolution(x, ones[3], [2, 2], [0, 0], [0, 0], [1, 1]),
        operations.convolution(x, ones[2], [2, 2], [1, 1], [0, 0], [1, 1]),
        operations.convolution(x, ones[2], [2, 2], [0, 0], [0, 0], [2, 2]),
    ]
    model = openvino.Model([operations.result(part) for part in parts], [x, split])
    open_vino_graph._unshuffle(openvino, model)
    open_vino_graph._convolve_unshuffled(openvino, model)
    assert "SpaceToDepth" not in kinds(model)


def test_graphs_in_float_are_compiled_as_they_are(tiny_graph: onnx.ModelProto) -> None:
    model = openvino.Core().read_model(tiny_graph.SerializeToString(), b"")
    before = [node.get_friendly_name() for node in model.get_ordered_ops()]
    open_vino_graph._fuse_quantisation(openvino, model)
    assert [node.get_friendly_name() for node in model.get_ordered_ops()] == before
