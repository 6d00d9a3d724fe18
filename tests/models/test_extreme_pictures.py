"""Extreme pictures: every kind is what it is said to be, and the finest patterns are among them."""

import numpy as np
from numpy.typing import NDArray

from models.extreme_pictures import extreme_pictures

SIDE = 96
PICTURES = extreme_pictures(120, SIDE)
LEAVES, SATURATED, SHADED, PATTERNS, DRAWINGS, DITHERED = (PICTURES[kind::6] for kind in range(6))


def _colours(picture: NDArray[np.uint8]) -> list[int]:
    """How many pixels each colour has, the most frequent first."""
    counts = np.unique(picture.reshape(-1, 3), axis=0, return_counts=True)[1]
    return sorted(counts.tolist(), reverse=True)


def _repeats(picture: NDArray[np.uint8], axis: int, period: int) -> bool:
    """Whether it repeats after so many pixels along an axis, but not after half as many."""
    moved, half = (np.roll(picture, step, axis) for step in (period, period // 2))
    inner = (slice(period, None), slice(None)) if axis == 0 else (slice(None), slice(period, None))
    return np.array_equal(moved[inner], picture[inner]) and not np.array_equal(half[inner], picture[inner])


def test_pictures_are_of_the_wanted_size_and_the_same_for_the_same_seed() -> None:
    assert len(PICTURES) == 120 and all(p.shape == (SIDE, SIDE, 3) and p.dtype == np.uint8 for p in PICTURES)
    again, other = extreme_pictures(12, SIDE, 3), extreme_pictures(12, SIDE, 4)
    assert all(np.array_equal(a, b) for a, b in zip(again, extreme_pictures(12, SIDE, 3), strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(again, other, strict=True))


def test_saturated_ones_reach_black_and_white_and_shaded_ones_have_no_detail() -> None:
    assert min(float(((p == 0) | (p == 255)).mean()) for p in SATURATED) > 0.3
    assert all(len(_colours(p)) > 20 for p in LEAVES)
    assert all(p.std(axis=1).max() == 0 for p in SHADED)


def test_patterns_have_two_colours_and_repeat_after_two_pixels_now_and_then() -> None:
    for pattern in PATTERNS:
        counts = _colours(pattern)
        assert len(counts) == 2 and counts[1] > 0.2 * SIDE * SIDE
    many = extreme_pictures(600, 16)[3::6]
    assert sum(_repeats(p, 0, 2) and _repeats(p, 1, 2) for p in many) >= 3  # chequerboards
    assert sum(_repeats(p, 0, 2) != _repeats(p, 1, 2) for p in many) >= 6  # stripes


def test_drawings_are_ground_and_ink_and_dithered_pictures_two_values_a_channel() -> None:
    plain = [counts for counts in map(_colours, DRAWINGS) if counts[0] > 0.3 * SIDE * SIDE]
    assert len(plain) > 10 and all(counts[1] > 0.02 * SIDE * SIDE for counts in plain)
    for picture in DITHERED:
        assert all(len(np.unique(picture[..., channel])) <= 2 for channel in range(3))
        assert _colours(picture)[0] < 0.98 * SIDE * SIDE
