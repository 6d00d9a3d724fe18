"""Pictures as cameras make them, over a real socket."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image


@pytest.mark.slow
def test_a_24_megapixel_jpeg_is_restored(server):
    rng = np.random.default_rng(0)
    small = rng.integers(40, 200, (100, 150, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(small).resize((6000, 4000), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
    answer = server.client.post("/v1/denoise?noise=5", content=file.getvalue(), timeout=300)
    assert answer.status_code == 200, answer.text
    with Image.open(io.BytesIO(answer.content)) as shown:
        assert (shown.format, shown.size) == ("JPEG", (6000, 4000))
