import json
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch

from models.denoiser import TorchDenoiser
from models.errors import ExportError, ParityError
from models.export import calibrate, export_onnx
from models.export.int8 import HELD_OUT, Calibration, _ranges, _too_dear, apply, safe_from
from models.export.precisions import graph
from models.parity import TOLERANCES, Deviation, Parity
from models.runtime import build, building, cache
from models.runtime.graded import GradedDenoiser
from restore.errors import RuntimeUnavailableError
from tests.models.conftest import tiny_network


def photographs(count=2 * HELD_OUT):
    from models.dead_leaves import dead_leaves

    pixels = (dead_leaves(count, 128, 128, seed=5) + 1.0) * 127.5
    return [picture.permute(1, 2, 0).round().numpy().astype(np.uint8) for picture in pixels]


def test_convolutions_are_quantised_but_the_ends_and_the_loss_is_told_by_level(ready, filled_cache, tmp_path):
    network, info = ready
    report = export_onnx(network, info, tmp_path / "int8.onnx", "int8", photographs())
    model = onnx.load(tmp_path / "int8.onnx")
    sources = {name: node.op_type for node in model.graph.node for name in node.output}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    coarse = [node.name for node in convolutions if sources.get(node.input[0]) == "DequantizeLinear"]
    assert sorted([*coarse, *report["kept_in_float"]]) == sorted(node.name for node in convolutions)
    assert coarse and {convolutions[0].name, convolutions[-1].name} <= set(report["kept_in_float"])
    lost = {float(level): value for level, value in report["psnr_lost"].items()}
    assert all(value <= TOLERANCES["int8"].psnr for level, value in lost.items() if level >= report["safe_from"])
    assert json.loads((tmp_path / "int8.onnx.json").read_text())["safe_from"] == report["safe_from"]


def test_the_runtime_answers_in_int8_above_the_safe_level_and_in_float_below(ready, filled_cache, tmp_path):
    network, info = ready
    with pytest.raises(RuntimeUnavailableError, match="--calibration"):
        build(tiny_network(), info, device="cpu", runtime="onnxruntime:int8")
    report = export_onnx(network, info, tmp_path / "int8.onnx", "int8", photographs())
    denoiser = build(tiny_network(), info, device="cpu", runtime="onnxruntime:int8")
    exact = TorchDenoiser(tiny_network(), info, precision="fp32")
    assert denoiser.info.runtime == "onnxruntime:int8+fp32"
    x, safe = torch.randn(2, 3, 32, 32), report["safe_from"] / 127.5
    sigma = torch.tensor([safe, 0.5 * safe])
    error = (denoiser(x, sigma) - exact(x, sigma)).abs().amax(dim=(1, 2, 3))
    assert error[1] < 1e-4 < error[0]


def test_a_prior_that_comes_with_its_calibration_needs_no_photographs(ready, filled_cache, tmp_path, monkeypatch):
    network, info = ready
    info = replace(info, digest="sha256:1234")
    record = calibrate(network, info, photographs())
    monkeypatch.setattr(building, "WEIGHTS", tmp_path)
    assert not building.can_quantise(network, info)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / building.CALIBRATION_FILE).write_text(json.dumps(record))
    assert building.can_quantise(network, info)
    denoiser = build(tiny_network(), info, device="cpu", runtime="onnxruntime:int8")
    assert denoiser.info.runtime == "onnxruntime:int8+fp32"
    exact = TorchDenoiser(tiny_network(), info, precision="fp32")
    x, sigma = torch.randn(1, 3, 32, 32), torch.tensor([record["safe_from"] / 127.5])
    assert 1e-4 < (denoiser(x, sigma) - exact(x, sigma)).abs().max() < 0.1
    assert cache.stored_graph(cache.fingerprint(network), "int8")[1]["safe_from"] == record["safe_from"]


def test_a_calibration_of_another_network_is_refused(ready):
    model = graph(*ready)
    with pytest.raises(ExportError, match="another network"):
        apply(model, Calibration(((0.0, 1.0),), (), 5.0))


def test_outliers_do_not_take_the_steps_of_all_others(ready):
    model, info = graph(*ready), ready[1]
    known = [torch.full((3, 128, 128), 0.1) + 0.01 * torch.randn(3, 128, 128) for _ in range(2)]
    known[0][0, 0, 0] = 1e4
    ranges, _ = _ranges(model, replace(info, sigma_max=0.1), known)
    assert 0.1 < ranges[0][1] < 10.0  # of the first one's input: one value of 49,152 is far above


def test_the_dearest_convolutions_stay_in_float_until_the_others_fit_the_budget():
    losses = {4: 0.03, 7: 0.008, 9: 0.004, 11: -0.002}
    assert _too_dear(losses, 0.05) == set()
    assert _too_dear(losses, 0.0121) == {4}
    assert _too_dear(losses, 0.001) == {4, 7, 9}


def test_too_few_photographs_are_refused(ready, tmp_path):
    with pytest.raises(ExportError, match="photographs"):
        export_onnx(*ready, tmp_path / "x.onnx", "int8", photographs()[:-1])


def test_a_network_that_int8_spoils_at_every_level_is_refused(ready, tmp_path, monkeypatch):
    monkeypatch.setitem(TOLERANCES, "int8", type(TOLERANCES["int8"])(0.0, 0.0))
    with pytest.raises(ParityError, match="every noise level"):
        export_onnx(*ready, tmp_path / "x.onnx", "int8", photographs())
    assert not list(tmp_path.glob("x.*"))


@pytest.mark.parametrize(
    ("lost", "expected"),
    [((0, 0, 0), 5.0), ((1, 0, 0), 25.0), ((0, 1, 0), 100.0), ((0, 0, 1), np.inf), ((1, 1, np.nan), np.inf)],
)
def test_a_level_is_safe_when_all_above_it_are(lost, expected):
    levels = zip((5.0, 25.0, 100.0), lost, strict=True)
    assert safe_from(Parity(tuple(Deviation(s, (1,), 0.0, 0.0, 30.0, -float(v)) for s, v in levels))) == expected


def test_every_row_goes_by_its_own_noise_level(tiny):
    class Named:
        def __init__(self, value):
            self.info, self.value = tiny[1], value

        def __call__(self, x, sigma):
            return torch.full_like(x, self.value)

    graded = GradedDenoiser(Named(8.0), lambda: Named(32.0), 25.0, "openvino", "int8+bf16")
    answer = graded(torch.zeros(4, 3, 4, 4), torch.tensor([0.01, 25 / 127.5, 9.0, 0.1]))
    assert answer[:, 0, 0, 0].tolist() == [32.0, 8.0, 8.0, 32.0]
    assert graded.info.runtime == "openvino:int8+bf16"
