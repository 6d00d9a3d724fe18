"""TensorRT needs an NVIDIA GPU: here a stand-in (see conftest.py) records what it is asked to do."""

import sys
from dataclasses import replace

import pytest
import torch

from models.errors import ExportError
from models.export.tensor_rt import build_engine, check_profile, export_tensorrt
from models.runtime import build, building, cache
from restore.errors import RuntimeUnavailableError
from tests.models.conftest import tiny_network

CUDA = torch.device("cuda:0")


def test_an_engine_has_one_tile_any_batch_and_the_graphs_own_types(tiny, stand_in):
    trt = stand_in()
    assert build_engine(b"graph", tiny[1], CUDA, "fp16", 64, 12) == b"engine"
    assert trt.shapes == {
        "x": ((1, 3, 64, 64), (12, 3, 64, 64), (12, 3, 64, 64)),
        "sigma": ((1,), (12,), (12,)),
    }
    assert trt.flags == 1 << 3 and trt.cleared == ["tf32"]


def test_what_cannot_be_compiled_is_said(tiny, stand_in):
    stand_in(readable=False)
    with pytest.raises(ExportError, match="no such operator"):
        build_engine(b"graph", tiny[1], CUDA, "fp16", 64, 12)
    stand_in(compiles=False)
    with pytest.raises(ExportError, match="cannot compile"):
        build_engine(b"graph", tiny[1], CUDA, "fp16", 64, 12)


def test_an_engine_is_built_once_for_each_network_gpu_version_and_profile(tiny, stand_in, private_cache, monkeypatch):
    stand_in()
    network, info = tiny
    built = []
    monkeypatch.setattr(building, "exported", lambda *a: b"graph")
    monkeypatch.setattr(
        "models.export.tensor_rt.build_engine", lambda *a: built.append(a[3:]) or f"engine {len(built)}".encode()
    )
    monkeypatch.setattr("models.runtime.measuring.hardware", lambda device: "GPU A")

    def made(net=network, precision="fp16", tile=64, batch=8):
        return building.engine(net, info, CUDA, precision, tile, batch)

    assert made() == made() == b"engine 1"
    assert {made(tile=32), made(batch=4), made(precision="bf16"), made(tiny_network(1))} == {
        b"engine 2", b"engine 3", b"engine 4", b"engine 5",
    }  # fmt: skip
    monkeypatch.setattr("models.runtime.measuring.hardware", lambda device: "GPU B")
    assert made() == b"engine 6"
    versions = cache.versions
    monkeypatch.setattr(cache, "versions", lambda *names: versions(*names) | {"tensorrt": "99"})
    assert made() == b"engine 7"
    # A file that was changed is machine code of somebody else: it is built anew.
    for path in (private_cache / "engines").glob("*.engine"):
        path.write_bytes(b"evil")
    assert made() == b"engine 8"


@pytest.mark.parametrize(
    ("changes", "precision", "tile", "batch"),
    [({}, "int8", 64, 8), ({}, "fp16", 63, 8), ({}, "fp16", 64, 0), ({"native_size": 32}, "fp16", 64, 8)],
)
def test_impossible_profiles_are_refused(tiny, changes, precision, tile, batch):
    with pytest.raises(ExportError):
        check_profile(replace(tiny[1], **changes), precision, tile, batch)


def test_without_tensorrt_both_say_what_is_missing(tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(RuntimeUnavailableError, match="pip install tensorrt"):
        export_tensorrt(*tiny, tmp_path / "tiny.engine", device=CUDA)
    with pytest.raises(RuntimeUnavailableError, match="pip install tensorrt"):
        build(tiny_network(), tiny[1], device="cpu", runtime="tensorrt")


def test_a_processor_is_no_gpu(tiny, stand_in):
    stand_in()
    with pytest.raises(RuntimeUnavailableError, match="CUDA"):
        build(tiny_network(), tiny[1], device="cpu", runtime="tensorrt:fp16")
