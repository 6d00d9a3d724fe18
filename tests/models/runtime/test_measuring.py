import json
from dataclasses import replace

import pytest
import torch

from models.denoiser import TorchDenoiser
from models.runtime import build, building, cache
from models.runtime.measuring import Measured, measure, remember, remembered
from restore.errors import RuntimeUnavailableError
from tests.models.conftest import tiny_network

CANDIDATES = ["torch:fp32", "onnxruntime:fp32"]


def rows(**seconds):
    return [Measured(name.replace("_", ":"), seconds=taken, eligible=True) for name, taken in seconds.items()]


def test_runtimes_are_measured_side_by_side_and_compared(tiny, filled_cache):
    network, info = tiny
    told = []
    found = measure(network, info, "cpu", CANDIDATES, rounds=3, side=32, on_step=told.append)
    assert {row.choice for row in found} == set(CANDIDATES) and all(row.eligible for row in found)
    assert [row.seconds for row in found] == sorted(row.seconds for row in found)
    (reference,) = (row for row in found if row.choice == "torch:fp32")
    assert reference.speedup == 1.0 and reference.psnr_lost == 0.0
    assert len(told) == 3
    # The network is not changed: it is in float32 and answers as before.
    x = torch.randn(1, 3, 8, 8)
    assert torch.equal(network(x, torch.ones(1)), tiny_network()(x, torch.ones(1)))


def test_what_cannot_run_here_is_said_and_the_others_are_measured(tiny, filled_cache, monkeypatch):
    monkeypatch.setattr("models.runtime.measuring.bf16_in_hardware", lambda device: False)
    found = {row.choice: row for row in measure(*tiny, "cpu", ["torch:bf16", "torch-cudagraphs:fp32"], rounds=3)}
    assert "bfloat16" in found["torch:bf16"].remark and "CUDA" in found["torch-cudagraphs:fp32"].remark
    assert found["torch:bf16"].seconds is None and not found["torch:bf16"].eligible
    assert found["torch:fp32"].seconds > 0


def test_what_answers_otherwise_is_never_chosen(tiny, filled_cache, monkeypatch):
    class Wrong(TorchDenoiser):
        def __call__(self, x, sigma):
            return 0.98 * x

    def built(choice, network, info, device):
        kind = Wrong if choice.runtime == "onnxruntime" else TorchDenoiser
        return kind(network, info, device, "fp32")

    monkeypatch.setattr(building, "build_choice", built)
    found = measure(*tiny, "cpu", CANDIDATES, rounds=3, side=32)
    assert found[0].choice == "onnxruntime:fp32" and not found[0].eligible and "otherwise" in found[0].remark
    assert remember(*tiny, "cpu", found) == "torch:fp32"


def test_auto_is_torch_until_something_faster_was_found(tiny, filled_cache):
    network, info = tiny
    assert build(tiny_network(), info, device="cpu").runtime == "torch"
    assert remember(network, info, "cpu", rows(torch_fp32=0.2, onnxruntime_fp32=0.1)) == "onnxruntime:fp32"
    denoiser = build(tiny_network(), info, device="cpu", runtime="auto")
    assert denoiser.info.runtime == "onnxruntime:fp32"
    # What was asked for by name is what runs.
    assert build(tiny_network(), info, device="cpu", runtime="torch:fp32").info.runtime == "torch:fp32"


def test_a_measurement_holds_for_its_network_machine_and_versions(tiny, filled_cache, monkeypatch):
    network, info = tiny
    remember(network, info, "cpu", rows(onnxruntime_fp32=0.1))
    assert remembered(network, "cpu")["chosen"] == "onnxruntime:fp32"
    assert remembered(tiny_network(seed=1), "cpu") is None
    with monkeypatch.context() as patch:
        patch.setattr("models.runtime.measuring.hardware", lambda device: "another processor")
        assert remembered(network, "cpu") is None
    with monkeypatch.context() as patch:
        patch.setattr(cache, "versions", lambda *names: {"torch": "99"})
        assert remembered(network, "cpu") is None


def test_damaged_or_foreign_measurements_do_not_count(tiny, filled_cache):
    network, info = tiny
    remember(network, info, "cpu", rows(onnxruntime_fp32=0.1))
    (path,) = (filled_cache / "measurements").glob("*.json")
    for text in ("", "{", "[]", json.dumps({"chosen": "no-such-runtime"}), json.dumps({"chosen": 3})):
        path.write_text(text)
        assert remembered(network, "cpu") is None
    remember(network, info, "cpu", rows(onnxruntime_fp32=0.1))
    filled_cache.chmod(0o777)
    assert remembered(network, "cpu") is None


def test_nothing_is_written_by_looking(tiny, private_cache):
    build(tiny_network(), tiny[1], device="cpu")
    assert not private_cache.exists()


@pytest.mark.slow
def test_a_compiled_network_answers_as_the_eager_one(tiny):
    _, info = tiny
    compiled = build(tiny_network(), info, device="cpu", runtime="torch-compile:fp32")
    eager = TorchDenoiser(tiny_network(), info, precision="fp32")
    x, sigma = torch.randn(2, 3, 24, 16), torch.tensor([0.1, 1.0])
    torch.testing.assert_close(compiled(x, sigma), eager(x, sigma), rtol=0, atol=1e-4)
    assert compiled.info == replace(eager.info, runtime="torch-compile:fp32", differentiable=False)


def test_cuda_graphs_need_a_cuda_device(tiny):
    with pytest.raises(RuntimeUnavailableError, match="CUDA"):
        build(tiny_network(), tiny[1], device="cpu", runtime="torch-cudagraphs")
