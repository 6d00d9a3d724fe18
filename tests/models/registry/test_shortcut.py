"""From a prior's files to its graph without its network: the same denoiser, and only where it still is the one."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

import models.registry
from models.export.int8 import Calibration, apply
from models.registry import WEIGHTS_FILE, load_denoiser, open_prior, verify
from models.registry.shortcut import PART, prepare
from models.release import release
from models.runtime import Choice, cache
from models.runtime.measuring import Measured, remember
from restore.errors import CorruptWeightsError, RuntimeUnavailableError
from tests.models.conftest import tiny_network

pytest.importorskip("openvino")
CHOICE = "openvino:fp32"


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    tiny_network().save_pretrained(folder / "ema")
    pictures = [np.full((40, 40, 3), value, np.uint8) for value in (50, 90)]
    release(
        folder / "ema", folder / "weights" / "photo", photographs=pictures, sigmas=(0.01, 1.0), size=32,
        data="None.", weights_licence="CC0-1.0", precision="fp32",
    )  # fmt: skip
    return folder / "weights"


@pytest.fixture(autouse=True)
def memory(monkeypatch):
    """Enough, whatever else runs on this machine: where it is scarce the usual way is taken."""
    monkeypatch.setattr("restore.prior.memory.available_bytes", lambda device: 1 << 36)


@pytest.fixture
def weights(released, tiny_graph, private_cache):
    """A registry with the tiny network, whose graph was exported before."""
    mark = cache.fingerprint(open_prior(None, released).network)
    cache.store_graph(mark, "fp32", tiny_graph.SerializeToString(), {})
    return released


@pytest.fixture
def unbuilt(monkeypatch):
    """Fails where the network is built, from when it is called."""

    def forbid():
        def refuse(facts):
            raise AssertionError("the network was built")

        monkeypatch.setattr(models.registry, "_open_verified", refuse)

    return forbid


def measured(choice):
    return [Measured(choice, seconds=1.0, eligible=True)]


def test_the_second_load_builds_no_network_and_answers_the_same(weights, unbuilt):
    first = load_denoiser(runtime=CHOICE, weights=weights)
    unbuilt()
    second = load_denoiser(runtime=CHOICE, weights=weights)
    assert second.info == first.info and second.info.runtime == CHOICE and second.info.error_table is not None
    assert (second.tile, second.overlap, second.max_batch) == (first.tile, first.overlap, first.max_batch)
    x, sigma = torch.randn(1, 3, 40, 56), torch.tensor([0.3])
    assert torch.equal(second(x, sigma), first(x, sigma))


def test_int8_is_found_as_quickly_and_answers_as_before_on_both_sides_of_its_level(weights, unbuilt, tiny_graph):
    count = sum(node.op_type == "Conv" for node in tiny_graph.graph.node)
    quantised = apply(tiny_graph, Calibration(((-4.0, 4.0),) * count, (0, count - 1), 25.0))
    mark = cache.fingerprint(open_prior(None, weights).network)
    cache.store_graph(mark, "int8", quantised.SerializeToString(), {"safe_from": 25.0})
    first = load_denoiser(runtime="openvino:int8", weights=weights)
    exact = load_denoiser(runtime="openvino", weights=weights)
    unbuilt()
    second = load_denoiser(runtime="openvino:int8", weights=weights)
    assert second.info == first.info and second.info.runtime.startswith("openvino:int8+")
    # The second one has a graph of its own size, which is compiled from what was found.
    for x in (torch.randn(1, 3, 40, 56), torch.randn(1, 3, 448, 448)):
        for level, coarse in ((10.0, False), (50.0, True)):
            sigma = torch.tensor([level / 127.5])
            answer = second(x, sigma)
            assert torch.equal(answer, first(x, sigma))
            assert torch.equal(answer, exact(x, sigma)) is not coarse


def test_auto_is_what_was_measured_last(weights, unbuilt):
    loaded = open_prior(None, weights)
    network, info = loaded.network, loaded.info
    remember(network, info, "cpu", measured(CHOICE))
    assert load_denoiser(weights=weights, device="cpu").info.runtime == CHOICE
    remember(network, info, "cpu", measured("torch:fp32"))
    assert load_denoiser(weights=weights, device="cpu").info.runtime == "torch:fp32"
    assert not list(cache.folder(PART).iterdir())
    remember(network, info, "cpu", measured(CHOICE))
    load_denoiser(weights=weights, device="cpu")
    unbuilt()
    assert load_denoiser(weights=weights, device="cpu").info.runtime == CHOICE


def test_another_number_of_threads_or_little_memory_takes_the_usual_way(weights, unbuilt, monkeypatch):
    load_denoiser(runtime=CHOICE, weights=weights)
    prepared = prepare(verify(None, weights), Choice.parse(CHOICE), "cpu")
    assert prepared is not None and prepared.denoiser("cpu") is not None
    fewer = replace(prepared, known={**prepared.known, "threads": prepared.known["threads"] + 1})
    assert fewer.denoiser("cpu") is None
    monkeypatch.setattr("restore.prior.memory.available_bytes", lambda device: 1 << 20)
    assert prepared.denoiser("cpu") is None


def test_files_are_verified_and_devices_refused_all_the_same(weights, tmp_path):
    load_denoiser(runtime=CHOICE, weights=weights)
    with pytest.raises(RuntimeUnavailableError, match="cuda:99"):
        load_denoiser(runtime=CHOICE, device="cuda:99", weights=weights)
    file = weights / "photo" / WEIGHTS_FILE
    good = file.read_bytes()
    try:
        file.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
        with pytest.raises(CorruptWeightsError):
            load_denoiser(runtime=CHOICE, weights=weights)
    finally:
        file.write_bytes(good)


def test_a_damaged_graph_is_not_taken(weights):
    load_denoiser(runtime=CHOICE, weights=weights)
    (graph,) = cache.folder("graphs").glob("*.onnx")
    graph.write_bytes(graph.read_bytes()[:-1])
    assert prepare(verify(None, weights), Choice.parse(CHOICE), "cpu") is None


def test_a_folder_that_cannot_be_written_is_no_reason_to_fail(weights, monkeypatch):
    def refuse(part):
        raise RuntimeUnavailableError("read-only")

    monkeypatch.setattr(cache, "folder", refuse)
    assert load_denoiser(runtime=CHOICE, weights=weights).info.runtime == CHOICE


def test_a_graph_is_compiled_without_torch(weights):
    load_denoiser(runtime=CHOICE, weights=weights)
    code = (
        "import sys; from pathlib import Path; from models.registry import verify; "
        "from models.registry.shortcut import prepare; from models.runtime import Choice; "
        f"assert prepare(verify(None, Path({str(weights)!r})), Choice.parse({CHOICE!r}), 'cpu') is not None; "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
