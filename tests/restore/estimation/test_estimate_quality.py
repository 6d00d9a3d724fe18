"""The JPEG quality of real files, from their tables and from their pixels."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from restore.degradations.jpeg import standard_tables
from restore.estimation.jpeg import estimate_quality

PHOTOGRAPHS = sorted((Path(__file__).parents[2] / "data").glob("*.png"))


def pixels(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.asarray(image.convert("RGB")).copy()).permute(2, 0, 1)[None].float() / 127.5 - 1.0


@pytest.mark.parametrize("quality", [1, 10, 49, 50, 51, 90, 100])
def test_tables_tell_the_quality_exactly(quality: int) -> None:
    found = estimate_quality(torch.zeros(1, 3, 8, 8), standard_tables(quality))
    assert found is not None and standard_tables(found)[0] == standard_tables(quality)[0]


@pytest.mark.parametrize("photograph", PHOTOGRAPHS, ids=lambda p: p.stem)
@pytest.mark.parametrize("quality", [10, 30, 50, 70, 85])
def test_pixels_tell_the_quality_to_within_five(photograph: Path, quality: int) -> None:
    stream = io.BytesIO()
    Image.open(photograph).convert("RGB").save(stream, "JPEG", quality=quality)
    found = estimate_quality(pixels(Image.open(stream)))
    assert found is not None and abs(found - quality) <= 5


@pytest.mark.parametrize("photograph", PHOTOGRAPHS, ids=lambda p: p.stem)
def test_pictures_that_were_never_compressed_show_no_trace(photograph: Path) -> None:
    image = Image.open(photograph).convert("RGB")
    assert estimate_quality(pixels(image)) is None
    assert estimate_quality(pixels(image.crop((0, 0, 7, 5)))) is None
