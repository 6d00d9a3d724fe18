"""The work budget counts the calls that are made."""

from __future__ import annotations

import pytest

from restore.sampling.ensemble import ORIENTATIONS
from service.http.budget import MOST_AT_ONE, calls
from service.schemas.parameters import Denoise, LowLightEnhance


def test_a_mean_has_no_more_orientations_than_there_are() -> None:
    assert MOST_AT_ONE["denoise"] == ORIENTATIONS


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, 1), ({"steps": 3}, 3), ({"steps": 100}, 8), ({"steps": 100, "fidelity": 0.5}, 100), ({"samples": 4}, 32),
     ({"samples": 4, "steps": 20}, 80)],
)  # fmt: skip
def test_calls_of_denoise(given: dict[str, float], expected: int) -> None:
    assert calls(Denoise(**given)) == expected


def test_other_tasks_make_as_many_as_are_asked_for() -> None:
    assert calls(LowLightEnhance(steps=100)) == 100
