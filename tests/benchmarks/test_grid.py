from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from models.denoiser import network_info
from tests.models.conftest import tiny_network


@pytest.fixture
def loaded(tmp_path, monkeypatch):
    monkeypatch.setenv("PELLUCID_CACHE", str(tmp_path))
    network = tiny_network()
    return SimpleNamespace(network=network, info=network_info(network, "tiny"))


@pytest.fixture
def quick(monkeypatch):
    import ceiling
    import grid

    monkeypatch.setattr(ceiling, "measure", lambda precision: ceiling.Best(500.0, "nowhere"))
    monkeypatch.setitem(grid.LIMITS, "cpu", grid.Limits(10.0, 0.0, (2, 2), 60.0, 1, 60.0))
    return grid


def test_the_grid_shows_every_runtime_at_every_size_or_says_why_not(loaded, quick):
    pictures = [torch.zeros(1, 3, 256, 300)]
    wanted = [(32, 2), (48, 1)]
    tables, notes = quick.measure(loaded, torch.device("cpu"), pictures, ["torch:fp16"], wanted, [])
    rows = tables[-1].rows
    assert [row[:4] for row in rows] == [["32x32", 2, "torch:fp32", 2], ["48x48", 1, "torch:fp32", 2]]
    rate = quick.flops_per_pixel(loaded)
    for row in rows:
        _, _, _, _, milliseconds, megapixels, times, reached, share, _ = row
        assert times == 1.0
        assert reached == pytest.approx(rate * megapixels / 1e6) and share == pytest.approx(100.0 * reached / 0.5)
        assert megapixels == pytest.approx((2.048 if row[1] == 2 else 2.304) / milliseconds)
    assert any(note.startswith("torch:fp16 is not here") for note in notes)
    assert quick.REFERENCE in tables[1].title


def test_what_takes_too_long_or_is_not_compiled_is_left_out_by_name(loaded, quick):
    ready, _, _ = quick.build(loaded, torch.device("cpu"), [quick.REFERENCE])
    ready = {name: ready[quick.REFERENCE] for name in ("fast", "slow", "broken", "torch-compile:fp32")}
    ready["broken"] = lambda x, sigma: 1 / 0
    limits = quick.LIMITS["cpu"]
    found, rounds, remarks = quick.one_cell(ready, (32, 1), torch.device("cpu"), limits, {"slow": 1.0}, False)
    assert list(found) == ["fast"] and rounds == 2
    assert (
        "1024 s" in remarks["slow"] and "division" in remarks["broken"] and "compiled" in remarks["torch-compile:fp32"]
    )


def test_cells_are_read_and_the_bars_own_comes_first_on_a_gpu():
    import grid

    assert grid.cells(["256x16", "64x1"]) == [(256, 16), (64, 1)]
    on_gpu, on_cpu = (grid.all_cells(torch.device(kind)) for kind in ("cuda", "cpu"))
    assert on_gpu[0] == grid.BAR_CELL and on_cpu[0] == (256, 1) and sorted(on_gpu) == sorted(on_cpu)
    assert len(on_cpu) == 9


def test_the_bars_of_a_gpu_need_speed_and_parity():
    import grid

    medians = {grid.BAR_CELL: {grid.REFERENCE: 4.0, "torch:fp16": 1.0, "torch-compile:fp16": 1.0, "a:fp16": 2.0}}
    lost = {"torch:fp16": 0.001, "torch-compile:fp16": 0.05, "a:fp16": 0.0}
    notes = grid.verdicts(torch.device("cuda"), medians, lost)
    said = {note.split(" ")[0]: note.rpartition(": ")[2] for note in notes if "wanted" in note}
    assert said == {"torch:fp16": "reached.", "torch-compile:fp16": "missed.", "a:fp16": "missed."}


def test_what_a_graded_call_is_computed_in_depends_on_its_noise_level():
    import grid

    for safe_from, expected in ((15.0, "int8"), (50.0, "bf16")):
        inner = SimpleNamespace(safe_from=safe_from, info=SimpleNamespace(runtime="openvino:int8+bf16"))
        tiled = SimpleNamespace(denoiser=inner, info=inner.info)
        assert grid.computed_in(inner) == grid.computed_in(tiled) == expected
