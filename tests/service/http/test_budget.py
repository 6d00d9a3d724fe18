"""The work budget counts the calls that are made."""

from __future__ import annotations

import importlib

import pytest

from restore.sampling.ensemble import ORIENTATIONS
from service.http.budget import CALLS, MOST_AT_ONE, calls
from service.schemas.parameters import Denoise, LowLightEnhance


def test_a_mean_has_no_more_orientations_than_there_are() -> None:
    assert MOST_AT_ONE["denoise"] == ORIENTATIONS


def test_the_tasks_numbers_are_those_of_the_tasks() -> None:
    assert CALLS["denoise"] == (1, constant("denoise", "SAMPLE_STEPS"))
    assert CALLS["low-light-enhance"] == (
        constant("low_light_enhance", "MEAN_STEPS"),
        constant("low_light_enhance", "SAMPLE_STEPS"),
    )
    for task in ("inpaint", "colorize", "dejpeg"):
        assert CALLS[task] == (constant(task, "STEPS"),) * 2
    # All sizes of a picture with a large hole together: a geometric series.
    assert constant("inpaint", "STEPS_A_SIZE") * 4 / 3 < constant("inpaint", "STEPS")


def constant(task: str, name: str) -> int:
    """Of a task's module, whose name in the package is the task itself."""
    found: int = getattr(importlib.import_module(f"restore.tasks.{task}"), name)
    return found


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, 1), ({"steps": 3}, 3), ({"steps": 100}, 8), ({"steps": 100, "fidelity": 0.5}, 100), ({"samples": 4}, 32),
     ({"samples": 4, "steps": 20}, 80)],
)  # fmt: skip
def test_calls_of_denoise(given: dict[str, float], expected: int) -> None:
    assert calls(Denoise(**given)) == expected


def test_other_tasks_make_as_many_as_are_asked_for() -> None:
    assert calls(LowLightEnhance(steps=100)) == 100
