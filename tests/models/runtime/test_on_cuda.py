"""Runtimes on a GPU. Without one, all of this is left out."""

import pytest
import torch

from models.denoiser import TorchDenoiser
from models.parity import TOLERANCES, compare
from models.runtime import build
from models.runtime.torch_modes import GRAPHS
from restore.errors import RuntimeUnavailableError
from tests.models.conftest import tiny_network

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.usefixtures("filled_cache"),
]


def built(choice, info):
    try:
        return build(tiny_network(), info, device="cuda", runtime=choice)
    except RuntimeUnavailableError as error:
        if choice.partition(":")[0].startswith(("onnxruntime", "tensorrt")):
            pytest.skip(str(error))
        raise


@pytest.mark.parametrize("choice", ["torch:fp32", "torch:bf16", "torch:fp16", "torch-cudagraphs:fp32",
                                    "torch-cudagraphs:bf16", "torch-cudagraphs:fp16", "torch-compile:fp16",
                                    "onnxruntime:fp32", "onnxruntime:fp16", "tensorrt:fp16"])  # fmt: skip
def test_it_answers_as_float32_on_the_cpu(tiny, choice):
    network, info = tiny
    reference, other = TorchDenoiser(network, info, "cpu", "fp32"), built(choice, info)
    assert other.info.runtime == choice
    assert not compare(reference, other).failures(TOLERANCES[choice.partition(":")[2]])


@pytest.mark.parametrize("choice", ["torch:fp16", "torch-cudagraphs:fp16", "onnxruntime:fp32"])
def test_pictures_on_the_device_stay_there_and_streams_do_not_matter(tiny, choice):
    denoiser = built(choice, tiny[1])
    x, sigma = torch.randn(2, 3, 32, 48, device="cuda"), torch.tensor([0.1, 1.0], device="cuda")
    expected = denoiser(x, sigma)
    assert expected.device == x.device
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(100_000_000)  # the input comes late, on a stream of its own
        late = x.clone()
        answer = denoiser(late, sigma)
    stream.synchronize()
    torch.testing.assert_close(answer, expected, rtol=0, atol=2e-3)


def test_a_recorded_graph_answers_each_call_anew(tiny):
    _, info = tiny
    graphed, eager = built("torch-cudagraphs:fp32", info), built("torch:fp32", info)
    sides = [info.multiple_of * number for number in range(4, 4 + GRAPHS + 2)]  # more sizes than graphs are kept
    calls = [(torch.randn(2, 3, side, side, device="cuda"), level) for side in [*sides, *sides] for level in (0.1, 2.0)]
    answers = [graphed(x, torch.full((2,), level, device="cuda")) for x, level in calls]
    for (x, level), answer in zip(calls, answers, strict=True):
        torch.testing.assert_close(answer, eager(x, torch.full((2,), level, device="cuda")), rtol=0, atol=1e-4)


def test_float32_is_not_tensorfloat_32(tiny):
    _, info = tiny
    x, sigma = torch.randn(1, 3, 64, 64), torch.tensor([0.5])
    before = torch.backends.cudnn.allow_tf32
    exact = TorchDenoiser(tiny_network(), info, "cuda", "fp32")(x, sigma)
    assert torch.backends.cudnn.allow_tf32 == before
    on_cpu = TorchDenoiser(tiny_network(), info, "cpu", "fp32")(x, sigma)
    torch.testing.assert_close(exact, on_cpu, rtol=0, atol=2e-5)
