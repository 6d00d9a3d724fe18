"""ONNX files: which one it is must be known before it is loaded, and what it may hold.

A network file is data only as long as it refers to nothing else. External tensors read any file that the process may
read, custom operators need a library of machine code, and an EPContext node is such code itself (compiled for a GPU,
or a path to it). None of them is taken from a file.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from models.errors import UnsafeNetworkFileError
from restore.errors import CorruptWeightsError

if TYPE_CHECKING:
    import onnx

#: Operators of the standard, and Microsoft's that are part of every build of ONNX Runtime.
DOMAINS = ("", "ai.onnx", "com.microsoft")
REFUSED = ("EPContext", "PyOp")


def read_bytes(path: Path, sha256: str) -> bytes:
    """A file's content, once its digest is the expected one.

    Args:
        path: of the file.
        sha256: in hexadecimal, with or without "sha256:" in front.

    Raises:
        CorruptWeightsError: it cannot be read.
        UnsafeNetworkFileError: it is another file, or nobody said which one is expected.
    """
    expected = sha256.removeprefix("sha256:").lower()
    if len(expected) != 64:
        raise UnsafeNetworkFileError(f"{path} is not loaded without its sha256: give the one of its parity report")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CorruptWeightsError(f"{path} cannot be read ({error.strerror}); export it again") from error
    found = hashlib.sha256(data).hexdigest()
    if not hmac.compare_digest(found, expected):
        raise UnsafeNetworkFileError(f"{path} is not the expected file: sha256 {found[:12]}..., not {expected[:12]}...")
    return data


def check(data: bytes, name: str) -> onnx.ModelProto:
    """The network in a file of unknown origin, which refers to nothing and holds no machine code.

    Args:
        data: content of the file.
        name: of the file, for messages.

    Raises:
        CorruptWeightsError: it is no ONNX network.
        UnsafeNetworkFileError: it does more than compute.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model_from_string(data)
    except DecodeError as error:
        raise CorruptWeightsError(f"{name} is no ONNX network ({error})") from error
    if not model.graph.node:
        raise CorruptWeightsError(f"{name} is no ONNX network: it has no operations")
    for tensor in _tensors(model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            raise UnsafeNetworkFileError(f"{name} refers to another file for the tensor {tensor.name!r}; refused")
    own = {(function.domain, function.name) for function in model.functions}
    for node in _nodes(model):
        if node.op_type in REFUSED:
            raise UnsafeNetworkFileError(f"{name} holds {node.op_type}: code compiled elsewhere; refused")
        if node.domain not in DOMAINS and (node.domain, node.op_type) not in own:
            raise UnsafeNetworkFileError(
                f"{name} needs the custom operator {node.domain}::{node.op_type}, whose library is never loaded"
            )
    return model


def _outer_graphs(model: onnx.ModelProto) -> list[onnx.GraphProto]:
    found = [model.graph]
    for training in model.training_info:
        found += [training.initialization, training.algorithm]
    return found


def _nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Every node, at any depth."""
    pending = [node for graph in _outer_graphs(model) for node in graph.node]
    pending += [node for function in model.functions for node in function.node]
    while pending:
        node = pending.pop()
        yield node
        for graph in _inner_graphs(node):
            pending += graph.node


def _inner_graphs(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    return [graph for attribute in node.attribute for graph in (attribute.g, *attribute.graphs)]


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every tensor, at any depth."""
    graphs = [*_outer_graphs(model), *(graph for node in _nodes(model) for graph in _inner_graphs(node))]
    for graph in graphs:
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
    for node in _nodes(model):
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
