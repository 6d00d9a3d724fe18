"""What a client is promised of its jobs, whatever engine and store are behind the server."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from tests.service.conformance.site import Server, Site, picture

pytestmark = pytest.mark.slow


def test_a_job_is_submitted_and_its_result_fetched(alone: Server) -> None:
    job_id = alone.submit()
    job = alone.until(job_id, "succeeded")
    assert (job["attempt"], job["error"]) == (1, None)
    with Image.open(io.BytesIO(alone.result(job_id))) as image:
        assert image.size == (80, 64)


def test_progress_and_previews_are_told_as_they_happen(alone: Server) -> None:
    job_id = alone.submit("slow.40", steps=60, previews=True)
    kinds = [kind for kind, _ in alone.events(job_id)]
    assert (kinds[0], kinds[-1], kinds.count("completed"), kinds.count("started")) == ("queued", "completed", 1, 1)
    assert kinds.count("progress") >= 3
    assert kinds.count("preview") >= 2


def test_queued_and_running_jobs_are_canceled(alone: Server) -> None:
    running = [alone.submit("slow.50", steps=1000, seed=n) for n in range(4)]
    for job_id in running:
        alone.begun(job_id)
    queued = alone.submit()
    assert alone.job(queued)["state"] == "queued"
    for job_id in (queued, *running):
        assert alone.client.post(f"/v1/jobs/{job_id}/cancel").status_code == 202
        alone.until(job_id, "canceled")
    assert alone.job(queued)["attempt"] == 0
    alone.until(alone.submit(), "succeeded")  # the slots are free again


def test_a_key_makes_one_job_however_often_it_is_sent(alone: Server, site: Site) -> None:
    key = f"key-{site.folder.name}"
    with ThreadPoolExecutor(8) as pool:
        ids = set(pool.map(lambda _: alone.submit("slow.20", key=key), range(16)))
    assert len(ids) == 1
    alone.until(ids.pop(), "succeeded")
    alone.submit("slow.20", key=key, seed=1, expect=422)


def test_after_running_out_of_memory_smaller_tiles_do(alone: Server) -> None:
    job = alone.until(alone.submit("oom.64", size=(80, 72)), "succeeded")
    assert "tile=64;reason=oom" in job["degraded"]
    assert "out_of_memory" in {warning["code"] for warning in job["warnings"]}


def test_a_result_does_not_depend_on_its_company(alone: Server) -> None:
    lonely = alone.submit("slow.20", seed=7, steps=8)
    alone.until(lonely, "succeeded")
    crowd = [alone.submit("slow.20", seed=seed, steps=8) for seed in (3, 7, 5, 7)]
    for job_id in crowd:
        alone.until(job_id, "succeeded")
    results = [alone.result(job_id) for job_id in (lonely, *crowd)]
    assert results[2] == results[4] == results[0]
    assert len(set(results)) == 3


def test_a_picture_never_crosses_but_as_a_reference(alone: Server) -> None:
    """What is refused before it is queued leaves nothing to be restored."""
    answer = alone.client.post(
        "/v1/super-resolve", params={"scale": 2}, content=picture()[:100], headers={"Content-Type": "image/png"}
    )
    assert answer.status_code == 422
