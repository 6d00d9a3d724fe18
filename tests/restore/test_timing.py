import pytest
import torch
from torch import Tensor

from restore import Restorer, timing
from restore.errors import ParameterError
from restore.prior import PriorInfo


class Counting:
    """The identity, counted."""

    info = PriorInfo(name="counting")

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        self.calls += 1
        return x.clamp(-1.0, 1.0)


def test_runs_take_turns_and_the_median_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    now = [0.0]
    lasts = {"a": iter([0.0, 1.0, 50.0, 3.0]), "b": iter([0.0, 2.0, 2.0, 2.0])}

    def run(name: str) -> None:
        order.append(name)
        now[0] += next(lasts[name])

    monkeypatch.setattr(timing, "clock", lambda: now[0])
    found = timing.side_by_side({"a": lambda: run("a"), "b": lambda: run("b")}, 3, warm_up=1)
    assert "".join(order) == "ababab"[:2] + "ababab"
    assert found == {"a": 3.0, "b": 2.0}
    with pytest.raises(ParameterError, match="one round"):
        timing.side_by_side({}, 0)


def test_every_task_can_be_timed() -> None:
    prior = Counting()
    found = timing.time_tasks(Restorer(prior), timing.synthetic_picture(32), rounds=1, steps=2)
    assert [entry.name for entry in found] == list(timing.TASKS)
    assert sum(entry.calls for entry in found) * 2 == prior.calls  # once to warm up
    by_name = {entry.name: entry for entry in found}
    assert by_name["super-resolve"].megapixels == pytest.approx(16 * by_name["denoise"].megapixels)
    assert all(entry.seconds > 0 and entry.megapixels_per_second > 0 for entry in found)


def test_calls_are_timed_at_each_size() -> None:
    prior = Counting()
    found = timing.time_calls(prior, [16, 32], rounds=3)
    assert [(entry.name, entry.calls) for entry in found] == [("16x16", 1), ("32x32", 1)]
    assert prior.calls == 2 * (3 + timing.WARM_UP)


def test_unknown_tasks_are_refused() -> None:
    with pytest.raises(ParameterError, match="known: denoise"):
        timing.task_parameters("auto", 32)


def test_the_picture_lies_in_the_core_range() -> None:
    picture = timing.synthetic_picture(40)
    assert picture.shape == (1, 3, 40, 40)
    assert torch.equal(picture, timing.synthetic_picture(40))
    assert float(picture.abs().max()) <= 1.0
