from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from restore.errors import ImageError, ParameterError
from restore.tasks.masks import as_mask

MASK = np.zeros((6, 9), np.uint8)
MASK[2:4, 3:7] = 1


def png(mask: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(mask).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    "given",
    [MASK, MASK == 1, MASK * 0.25, MASK.tolist(), torch.from_numpy(MASK)[None, None], MASK[..., None], png(MASK * 255)],
    ids=["uint8", "bool", "float", "rows", "batch", "HWC", "picture"],
)
def test_every_form_of_a_mask_is_the_same_mask(given: object, tmp_path: Path) -> None:
    assert torch.equal(as_mask(given), torch.from_numpy(MASK).float())


def test_pictures_come_as_paths_and_from_pillow_too(tmp_path: Path) -> None:
    (tmp_path / "mask.png").write_bytes(png(MASK * 200))
    expected = torch.from_numpy(MASK).float()
    for given in (tmp_path / "mask.png", str(tmp_path / "mask.png"), Image.fromarray(MASK * 200)):
        assert torch.equal(as_mask(given), expected)


@pytest.mark.parametrize("given", [np.zeros(5), np.zeros((2, 4, 4)), object(), [[0.0, float("nan")]], [["a"]]])
def test_what_is_no_mask_is_refused(given: object) -> None:
    with pytest.raises(ParameterError, match="the mask"):
        as_mask(given)


def test_a_file_that_is_no_picture_is_refused() -> None:
    with pytest.raises(ImageError):
        as_mask(b"not a picture")
