"""Synthetic pictures of what photographs seldom show, to train on and to try weights on before they are released.

A network without normalisation that never saw them may answer with values far out of range, and one that saw only
photographs takes the finest patterns of drawings and screens for noise.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from models.dead_leaves import dead_leaves

Picture = NDArray[np.float64]
"""[side, side, 3] in [-1, 1] (what is beyond is clipped)."""

#: Ordered dithering: thresholds of a 4x4 cell (Bayer 1973), in sixteenths.
BAYER = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]])
FONTS = (
    cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_PLAIN, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_COMPLEX,
    cv2.FONT_HERSHEY_TRIPLEX, cv2.FONT_HERSHEY_COMPLEX_SMALL,
)  # fmt: skip
LETTERS = np.array(list("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.,:;!?+-=/()%&#  "))


def extreme_pictures(count: int, side: int, seed: int = 0) -> list[NDArray[np.uint8]]:
    """Dead leaves, the same saturated, flat or evenly shaded areas, patterns, drawings and dithered pictures, in turn.

    Args:
        count: of pictures, a sixth of each kind.
        side: height and width in pixels.
        seed: of every draw.

    Returns:
        uint8 [side, side, 3] each.
    """
    rng = np.random.default_rng(seed)
    kinds: tuple[Callable[[Picture, np.random.Generator], Picture], ...] = (
        _unchanged, _saturated, _shaded, _pattern, _drawing, _dithered,
    )  # fmt: skip
    leaves = dead_leaves(-(-count // len(kinds)), side, side, seed=seed + 1).permute(0, 2, 3, 1).double().numpy()
    pictures = [kind(picture, rng) for picture in leaves for kind in kinds]
    return [np.round((np.clip(p, -1.0, 1.0) + 1.0) * 127.5).astype(np.uint8) for p in pictures[:count]]


def _unchanged(leaves: Picture, _: np.random.Generator) -> Picture:
    return leaves


def _saturated(leaves: Picture, rng: np.random.Generator) -> Picture:
    return leaves * rng.uniform(2.0, 8.0, 3)


def _shaded(leaves: Picture, rng: np.random.Generator) -> Picture:
    """Flat, or shaded from top to bottom; often beyond black or white."""
    ramp = np.linspace(0.0, 1.0, len(leaves))[:, None, None]
    first, second = rng.uniform(-1.5, 1.5, (2, 3))
    if rng.integers(2):
        second = first
    return np.broadcast_to(first + (second - first) * ramp, leaves.shape)


def _pattern(leaves: Picture, rng: np.random.Generator) -> Picture:
    """Stripes, a chequerboard or blocks of two colours, often black and white; half of the first two lie along the
    pixels and repeat after two, four or six of them."""
    side = len(leaves)
    kind = rng.integers(5)
    if kind == 4:
        block = int(rng.integers(1, 7))
        small = rng.integers(2, size=(-(-side // block), -(-side // block)))
        chosen = np.kron(small, np.ones((block, block), int))[:side, :side]
    else:
        rows, columns = np.mgrid[:side, :side]
        if rng.integers(2):
            angle, turns = float(rng.choice([0.0, np.pi / 2])), 0.5 / int(rng.integers(1, 4))
        else:
            angle, turns = rng.uniform(0.0, np.pi), 1.0 / np.exp(rng.uniform(np.log(2.0), np.log(40.0)))
        # Off every multiple of a half, so that no pixel lies on an edge and rounding decides nothing.
        along = (columns * np.cos(angle) + rows * np.sin(angle)) * turns + 0.2468
        across = (rows * np.cos(angle) - columns * np.sin(angle)) * turns + 0.2468
        chosen = np.floor(2.0 * along).astype(int) + (np.floor(2.0 * across).astype(int) if kind % 2 else 0)
    return np.asarray(_two_colours(rng)[chosen % 2])


def _drawing(leaves: Picture, rng: np.random.Generator) -> Picture:
    """Lettering and a few straight lines, on a plain ground or on leaves."""
    side = len(leaves)
    ground, ink = _two_colours(rng)[rng.permutation(2)]
    canvas = np.broadcast_to(ground, leaves.shape) if rng.integers(4) else leaves
    smooth = cv2.LINE_AA if rng.integers(2) else cv2.LINE_8
    # OpenCV smooths edges on 8-bit pictures only.
    mask = np.zeros((side, side), np.uint8)
    top = 0
    while top < side:
        font, size = FONTS[rng.integers(len(FONTS))], float(np.exp(rng.uniform(np.log(0.3), np.log(1.5))))
        thickness = 1 if size < 0.8 else int(rng.integers(1, 4))
        text = "".join(rng.choice(LETTERS, 60))
        (_, height), below = cv2.getTextSize(text, font, size, thickness)
        top += height + below + int(rng.integers(1, 6))
        cv2.putText(mask, text, (-3, top - below), font, size, 255, thickness, smooth)
    for first, second in rng.integers(-8, side + 8, (6, 2, 2)).tolist():
        upright = rng.integers(3)
        last = (first[0] if upright == 0 else second[0], first[1] if upright == 1 else second[1])
        cv2.line(mask, first, last, 255, 1, smooth)
    share = mask[:, :, None] / 255.0
    return np.asarray(canvas + share * (ink - canvas))


def _dithered(leaves: Picture, rng: np.random.Generator) -> Picture:
    """Two values in every channel, or in all of them at once, by ordered dithering."""
    side = len(leaves)
    thresholds = np.kron(np.ones((-(-side // 4), -(-side // 4))), (BAYER + 0.5) / 8.0 - 1.0)[:side, :side, None]
    shown = leaves if rng.integers(2) else leaves.mean(2, keepdims=True)
    low, high = _two_colours(rng)
    return np.asarray(np.where(shown > thresholds, high, low))


def _two_colours(rng: np.random.Generator) -> NDArray[np.float64]:
    """[2, 3]: black and white, or any two."""
    return np.array([[-1.0] * 3, [1.0] * 3]) if rng.integers(2) else rng.uniform(-1.0, 1.0, (2, 3))
