import stat
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib import metadata

import pytest
import torch

from models.denoiser import TorchDenoiser, bf16_in_hardware
from models.parity import TOLERANCES, compare
from models.runtime import Choice, build, check_runtime
from models.runtime.cache import fingerprint, folder, stored_graph
from restore.errors import RuntimeUnavailableError
from restore.prior import Denoiser, TiledDenoiser
from tests.models.conftest import tiny_network

OPENVINO = pytest.mark.skipif("not __import__('importlib.util').util.find_spec('openvino')", reason="no openvino")
HALF = pytest.mark.skipif(not bf16_in_hardware(torch.device("cpu")), reason="no bfloat16 in hardware")
RUNTIMES = [
    "onnxruntime:fp32",
    pytest.param("openvino:fp32", marks=OPENVINO),
    pytest.param("openvino:bf16", marks=[OPENVINO, HALF]),
]


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_every_runtime_answers_as_torch(tiny, filled_cache, runtime):
    _, info = tiny
    denoiser = build(tiny_network(), info, device="cpu", runtime=runtime)
    reference = TorchDenoiser(tiny_network(), info, precision="fp32")
    assert isinstance(denoiser, Denoiser)
    assert denoiser.info == replace(reference.info, runtime=runtime, differentiable=False)
    assert not compare(reference, denoiser).failures(TOLERANCES[runtime.split(":")[1]])
    x, sigma = torch.randn(2, 3, 13, 30), torch.tensor([0.1, 2.0])
    answer = denoiser(x, sigma)
    assert answer.shape == x.shape and answer.dtype == torch.float32 and answer.is_contiguous()
    # An earlier answer is not written over by a later call.
    kept = answer.clone()
    denoiser(-x, sigma)
    assert torch.equal(answer, kept)


@pytest.mark.parametrize("runtime", RUNTIMES[:2])
def test_inputs_of_any_layout_are_taken_and_left_alone(tiny, filled_cache, runtime):
    denoiser = build(tiny_network(), tiny[1], device="cpu", runtime=runtime)
    x = torch.randn(1, 3, 16, 24)
    expected, sigma = denoiser(x, torch.tensor([0.3])), torch.tensor([0.3, 9.0])[::2]
    for layout in (x.to(memory_format=torch.channels_last), x.transpose(2, 3).contiguous().transpose(2, 3)):
        before = layout.clone()
        torch.testing.assert_close(denoiser(layout, sigma), expected, rtol=0, atol=1e-5)
        assert torch.equal(layout, before)


@pytest.mark.parametrize("runtime", RUNTIMES[:2])
def test_a_rows_answer_does_not_depend_on_the_others(tiny, filled_cache, runtime):
    denoiser = build(tiny_network(), tiny[1], device="cpu", runtime=runtime)
    x, sigma = torch.randn(3, 3, 16, 16), torch.tensor([0.05, 0.5, 5.0])
    together = denoiser(x, sigma)
    for row in range(3):
        torch.testing.assert_close(
            denoiser(x[row : row + 1], sigma[row : row + 1])[0], together[row], rtol=0, atol=1e-5
        )


@pytest.mark.parametrize("runtime", RUNTIMES[:2])
def test_two_threads_may_call_at_once(tiny, filled_cache, runtime):
    denoiser = build(tiny_network(), tiny[1], device="cpu", runtime=runtime)
    calls = [(torch.randn(1, 3, 64, 64), torch.tensor([0.1 * (i + 1)])) for i in range(8)]
    expected = [denoiser(*call) for call in calls]
    with ThreadPoolExecutor(4) as pool:
        for answer, right in zip(pool.map(lambda call: denoiser(*call), calls), expected, strict=True):
            torch.testing.assert_close(answer, right, rtol=0, atol=1e-5)


def test_tiles_of_an_exported_network(tiny, filled_cache):
    tiled = TiledDenoiser(build(tiny_network(), tiny[1], device="cpu", runtime="onnxruntime"), 32, 8)
    assert tiled(torch.randn(1, 3, 50, 71), torch.tensor([0.2])).shape == (1, 3, 50, 71)
    assert tiled.info.runtime == "onnxruntime:fp32"


def test_the_graph_is_exported_once_and_again_for_other_weights(tiny, private_cache, monkeypatch):
    _, info = tiny
    build(tiny_network(), info, device="cpu", runtime="onnxruntime")
    (path,) = (private_cache / "graphs").glob("*.onnx")
    monkeypatch.setattr("models.export.precisions.to_onnx", lambda *_: pytest.fail("exported again"))
    build(tiny_network(), info, device="cpu", runtime="onnxruntime")
    with pytest.raises(BaseException, match="exported again"):
        build(tiny_network(seed=1), info, device="cpu", runtime="onnxruntime")
    # A file that is not the one that was stored is not loaded.
    path.write_bytes(path.read_bytes() + b"\0")
    assert stored_graph(fingerprint(tiny_network()), "fp32") is None


def test_settings_beyond_the_weights_make_another_network():
    network, marks = tiny_network(), set()
    for sigma_data in (0.5, 0.6):
        network.sigma_data = sigma_data
        marks.add(fingerprint(network))
    assert len(marks) == 2 and fingerprint(tiny_network()) in marks


def test_the_folder_is_private(private_cache):
    private_cache.mkdir(mode=0o755)
    assert stat.S_IMODE(folder("graphs").stat().st_mode) == 0o700
    assert stat.S_IMODE(private_cache.stat().st_mode) == 0o700


def test_a_folder_of_somebody_else_is_refused(private_cache, monkeypatch):
    private_cache.mkdir()
    monkeypatch.setattr("os.getuid", lambda: 4242)
    with pytest.raises(RuntimeUnavailableError, match="another user"):
        folder("graphs")


def test_two_builds_of_onnx_runtime_are_refused(tiny, monkeypatch):
    version = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "1.0" if name.startswith("onnxruntime") else version(name))
    with pytest.raises(RuntimeUnavailableError, match="both installed"):
        build(tiny_network(), tiny[1], device="cpu", runtime="onnxruntime")


@pytest.mark.parametrize("module", ["openvino", "onnxruntime"])
def test_a_missing_library_is_said_before_anything_is_exported(tiny, module, private_cache, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(RuntimeUnavailableError, match="pip install"):
        build(tiny_network(), tiny[1], device="cpu", runtime=module)
    assert not private_cache.exists()


@pytest.mark.parametrize("runtime", ["nonsense", "torch:int4", "openvino:fp16", "onnxruntime:bf16", ""])
def test_what_does_not_exist_is_refused(runtime):
    with pytest.raises(RuntimeUnavailableError, match="choose one of"):
        check_runtime(runtime)


def test_how_a_runtime_is_written():
    assert Choice.parse("openvino:bf16") == Choice("openvino", "bf16") and str(Choice("openvino", "bf16")) == (
        "openvino:bf16"
    )
    assert Choice.parse("openvino", "fp32") == Choice("openvino", "fp32")
    assert Choice.parse("openvino:bf16", "fp32").precision == "bf16"
    assert Choice.parse("auto", "fp32") == Choice("torch", "fp32")
    assert str(Choice.parse("torch")) == "torch"
