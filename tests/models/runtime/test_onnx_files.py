import hashlib

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from models.errors import UnsafeNetworkFileError
from models.runtime.onnx_files import check, read_bytes
from restore.errors import CorruptWeightsError


def file(*nodes, tensors=(), functions=()):
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N"])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N"])]
    graph = helper.make_graph(list(nodes), "g", inputs, outputs, list(tensors))
    return helper.make_model(graph, functions=list(functions)).SerializeToString()


def external(name="w", location="../../etc/passwd"):
    tensor = numpy_helper.from_array(np.zeros(1, np.float32), name)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location
    return tensor


PLAIN = helper.make_node("Relu", ["x"], ["y"])


def test_a_plain_network_is_taken():
    assert len(check(file(PLAIN), "plain.onnx").graph.node) == 1


@pytest.mark.parametrize("location", ["../../etc/passwd", "/etc/passwd", "weights.bin"])
def test_weights_in_other_files_are_refused(location):
    with pytest.raises(UnsafeNetworkFileError, match="another file"):
        check(file(PLAIN, tensors=[external(location=location)]), "evil.onnx")


def test_weights_in_other_files_are_found_inside_branches_constants_and_functions():
    constant = helper.make_node("Constant", [], ["c"], value=external())
    branch = helper.make_graph([constant, helper.make_node("Identity", ["c"], ["b"])], "b", [], [
        helper.make_tensor_value_info("b", TensorProto.FLOAT, [1])
    ])  # fmt: skip
    choice = helper.make_node("If", ["q"], ["y"], then_branch=branch, else_branch=branch)
    function = helper.make_function("own", "F", [], ["c"], [constant], [helper.make_opsetid("", 20)])
    for data in (file(choice), file(constant, PLAIN), file(PLAIN, functions=[function])):
        with pytest.raises(UnsafeNetworkFileError, match="another file"):
            check(data, "evil.onnx")


def test_compiled_code_is_refused():
    engine = helper.make_node("EPContext", ["x"], ["y"], domain="com.microsoft", embed_mode=1, ep_cache_context=b"\x7f")
    with pytest.raises(UnsafeNetworkFileError, match="compiled"):
        check(file(engine), "evil.onnx")


def test_operators_from_libraries_are_refused():
    with pytest.raises(UnsafeNetworkFileError, match="custom operator"):
        check(file(helper.make_node("Run", ["x"], ["y"], domain="ai.evil")), "evil.onnx")


def test_functions_of_the_file_itself_are_taken():
    body = [helper.make_node("Relu", ["a"], ["b"])]
    function = helper.make_function("own", "F", ["a"], ["b"], body, [helper.make_opsetid("", 20)])
    check(file(helper.make_node("F", ["x"], ["y"], domain="own"), functions=[function]), "own.onnx")


@pytest.mark.parametrize("data", [b"", b"not a network", b"\x00" * 100])
def test_other_files_are_no_networks(data):
    with pytest.raises(CorruptWeightsError):
        check(data, "other.onnx")


def test_a_file_is_read_when_its_digest_is_right_only(tmp_path):
    path = tmp_path / "n.onnx"
    path.write_bytes(file(PLAIN))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert read_bytes(path, digest) == read_bytes(path, f"sha256:{digest.upper()}") == path.read_bytes()
    for wrong in ("", "0" * 64, digest[:-1]):
        with pytest.raises(UnsafeNetworkFileError):
            read_bytes(path, wrong)
    with pytest.raises(CorruptWeightsError):
        read_bytes(tmp_path / "none.onnx", digest)
    assert onnx.load(path).graph.node
