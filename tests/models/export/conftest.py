from __future__ import annotations

import sys
from types import SimpleNamespace

import onnx
import pytest
import torch


@pytest.fixture
def ready(tiny, tiny_graph, monkeypatch):
    """The tiny network, its float32 graph made before."""

    def known(network, info):
        copy = onnx.ModelProto()
        copy.CopyFrom(tiny_graph)
        return copy

    monkeypatch.setattr("models.export.precisions.to_onnx", known)
    return tiny


class StandIn:
    """The part of TensorRT's interface that is used; `graph` is the file it was given."""

    def __init__(self, readable=True, compiles=True):
        self.shapes, self.cleared, self.flags, self.graph = {}, [], None, b""
        profile = SimpleNamespace(set_shape=lambda name, *shapes: self.shapes.__setitem__(name, shapes))
        config = SimpleNamespace(
            set_memory_pool_limit=lambda kind, size: None,
            clear_flag=self.cleared.append,
            add_optimization_profile=lambda p: None,
        )
        builder = SimpleNamespace(
            create_network=lambda flags: setattr(self, "flags", flags) or "network",
            create_builder_config=lambda: config,
            create_optimization_profile=lambda: profile,
            build_serialized_network=lambda network, config: b"engine" if compiles else None,
        )
        parser = SimpleNamespace(
            parse=lambda data: setattr(self, "graph", data) or readable,
            num_errors=1,
            get_error=lambda i: SimpleNamespace(desc=lambda: "no such operator"),
        )
        self.Logger = type("Logger", (), {"ERROR": 1, "__init__": lambda self, level: None})
        self.Builder, self.OnnxParser = lambda log: builder, lambda network, log: parser
        self.NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=3)
        self.MemoryPoolType, self.BuilderFlag = SimpleNamespace(WORKSPACE=0), SimpleNamespace(TF32="tf32")


@pytest.fixture
def stand_in(monkeypatch):
    def use(**settings):
        made = StandIn(**settings)
        monkeypatch.setitem(sys.modules, "tensorrt", made)
        return made

    class Nothing:
        def __init__(self, device):
            pass

        def __enter__(self):
            pass

        def __exit__(self, *error):
            pass

    monkeypatch.setattr(torch.cuda, "device", Nothing)
    return use
