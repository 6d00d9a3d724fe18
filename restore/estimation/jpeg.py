"""JPEG quality: from a file's own tables, or from the traces that quantisation leaves in the pixels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from restore.degradations.jpeg import TO_YCC, blocks_to_frequencies, standard_tables

#: Frequencies (row, column) that most blocks use, and that every quality quantises.
FREQUENCIES = ((0, 1), (1, 0), (1, 1), (0, 2), (2, 0), (1, 2), (2, 1), (0, 3), (3, 0))

#: Least concentration of the coefficients on multiples of the step, 1 being perfect; pictures that were never
#: compressed stay under 0.2.
EVIDENCE = 0.5

#: Non-zero coefficients at a frequency below which its statistic is not trusted.
ENOUGH = 24

#: Standard deviation of a coefficient after the decoder's rounding of luma and RGB to 8 bits.
ROUNDING = 0.35


def estimate_quality(image: Tensor, tables: Mapping[int, Sequence[int]] | None = None) -> int | None:
    """JPEG quality on the Independent JPEG Group's scale.

    With tables it is the standard quality whose luma table is nearest. Without, the DCT coefficients of the luma on the
    8x8 grid through the upper left corner are tested for lying on multiples of the steps each quality has (the comb of
    Fan and de Queiroz 2003, "Identification of bitmap compression history"), weighed by a cosine as a matched filter.

    Args:
        image: [1, 3, H, W] in [-1, 1], as decoded: neither resized, turned nor cropped off the grid since.
        tables: {0: luma, ...}, 64 numbers each row by row.

    Returns:
        1 to 100, or None where the pixels show no trace of compression (above about 92 rounding hides it).
    """
    if tables is not None:
        luma = tables[0]
        return min(
            range(1, 101), key=lambda q: sum(abs(a - b) for a, b in zip(luma, standard_tables(q)[0], strict=True))
        )
    height, width = (side // 8 * 8 for side in image.shape[-2:])
    if height == 0 or width == 0:
        return None
    weights = torch.tensor(TO_YCC[0]).to(image).view(1, 3, 1, 1)
    luma_plane = (image[:1, :, :height, :width] * 127.5 * weights).sum(dim=1) - 0.5
    coefficients = blocks_to_frequencies(luma_plane)
    scores = [_evidence(coefficients, standard_tables(q)[0]) for q in range(1, 93)]
    best = max(scores)
    if best < EVIDENCE:
        return None
    # Steps that divide the true one fit as well as it does: the coarsest of the good ones is the file's.
    return 1 + next(i for i, score in enumerate(scores) if score > 0.9 * best)


def _evidence(coefficients: Tensor, table: Sequence[int]) -> float:
    """Mean of cos(2 pi c / step) over non-zero coefficients, relative to what rounding leaves of a perfect comb."""
    values = []
    for row, column in FREQUENCIES:
        step = float(table[8 * row + column])
        c = coefficients[..., row, column]
        c = c[c.abs() > 0.5 * step]
        if step < 1.5 or c.numel() < ENOUGH:
            continue
        perfect = math.exp(-2.0 * (math.pi * ROUNDING / step) ** 2)
        values.append(float(torch.cos(2.0 * math.pi / step * c).mean()) / perfect)
    return sum(values) / len(values) if len(values) >= 3 else 0.0
