from __future__ import annotations

import onnx
import pytest


@pytest.fixture
def ready(tiny, tiny_graph, monkeypatch):
    """The tiny network, its float32 graph made before."""

    def known(network, info):
        copy = onnx.ModelProto()
        copy.CopyFrom(tiny_graph)
        return copy

    monkeypatch.setattr("models.export.precisions.to_onnx", known)
    return tiny
