"""What comes beside the picture: maps, previews, files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pellucid_client as pellucid
import pytest
from PIL import Image

from tests.client.conftest import Api, pixels, size
from tests.client.proxy import Fault, Proxy

SAMPLES: dict[str, Any] = {"noise": 20, "samples": 3, "steps": 2}


def test_uncertainty_is_an_array_on_the_usual_scale(api: Api, picture: Path, tmp_path: Path) -> None:
    image = api.run(api.client.denoise(picture, **SAMPLES))
    chart = api.run(image.uncertainty())
    values = chart.array()
    assert values.shape == (32, 40) and values.dtype == np.float32
    assert 0 < values.max() < 255 and chart.scale == pytest.approx(values.max() / 65535)
    chart.save(tmp_path / "map.npy")
    chart.save(tmp_path / "map.png")
    assert np.array_equal(np.load(tmp_path / "map.npy"), values)
    job = api.run(api.client.jobs.get(image.job_id))
    assert np.array_equal(api.run(job.uncertainty()).array(), values)


def test_one_sample_has_no_uncertainty(api: Api, picture: Path) -> None:
    image = api.run(api.client.denoise(picture, noise=20))
    with pytest.raises(pellucid.NotFoundError, match="samples"):
        api.run(image.uncertainty())


def test_the_report_says_how_it_came_about(api: Api, picture: Path) -> None:
    image = api.run(api.client.denoise(picture, seed=5, **SAMPLES))
    report = api.run(image.report())
    assert (report.task, report.seed, report.nfe, report.prior) == ("denoise", 5, 6, "tiny")
    assert report.found["noise"] == 20 and report.digest == image.model.partition("@")[2]


def test_previews_are_small_pictures_on_the_way(api: Api, picture: Path) -> None:
    seen: list[pellucid.Event] = []
    api.run(api.client.denoise(picture, steps=150, fidelity=0, previews=True, on_event=seen.append))
    previews = [event for event in seen if isinstance(event, pellucid.PreviewEvent)]
    assert previews
    for preview in previews:
        with Image.open(io.BytesIO(preview.bytes)) as image:
            assert (image.format, image.size) == ("JPEG", (40, 32))


@pytest.mark.parametrize("kind", ["truncate", "lose_answer", "hang_up", "delay"])
def test_a_result_that_breaks_off_is_fetched_again(api: Api, proxy: Proxy, picture: Path, kind: str) -> None:
    job = api.run(api.client.submit(picture, "denoise", noise=20))
    api.run(job.wait())
    proxy.faults.append(Fault(kind, "/result", size=100, seconds=0.2))
    image = api.run(job.result())
    assert size(image) == (40, 32)
    assert image.response.attempts == (1 if kind == "delay" else 2)
    assert image.bytes == api.run(job.result()).bytes


def test_save_writes_what_came_and_no_other_format(api: Api, picture: Path, tmp_path: Path) -> None:
    image = api.run(api.client.denoise(picture, noise=20, output_format="webp"))
    image.save(tmp_path / "out.webp")
    assert (tmp_path / "out.webp").read_bytes() == image.bytes
    with pytest.raises(pellucid.InvalidInputError, match="output_format"):
        image.save(tmp_path / "out.png")
    assert [path.name for path in tmp_path.glob("out*")] == ["out.webp"]


def test_sixteen_bits_stay_sixteen_bits(api: Api) -> None:
    deep = pixels()[:, :, 0].astype(np.uint16) * 257
    image = api.run(api.client.denoise(deep, noise=20))
    values = image.array()
    assert values.dtype == np.uint16 and values.shape == (32, 40)
    assert (values % 257 != 0).any()
