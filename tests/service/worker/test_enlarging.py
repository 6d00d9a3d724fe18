"""Priors with a sampler of their own: beside the step loop, tile by tile, with everything that other jobs have."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from restore import Restorer
from service.worker.device import DeviceLostError
from tests.service.worker.priors_for_tests import Blocks


def test_a_ticket_is_enlarged_as_the_library_does_it(worker):
    reference = worker.picture(40, 32)
    job = worker.submit(reference, "super-resolve", prior="blocks", scale=4, noise="auto", steps=3)
    outcome = worker.succeed(job)
    data = worker.blobs.get(outcome["outputs"]["result"])
    with Image.open(io.BytesIO(data)) as image:
        assert image.size == (160, 128)
    expected = Restorer(Blocks("blocks", {})).super_resolve(worker.blobs.get(reference), steps=3, seed=1).encode()
    assert data == expected
    effective = outcome["effective"]
    assert (effective["prior"], effective["digest"], effective["nfe"]) == ("blocks", "sha256:00", 3)
    assert effective["parameters"]["steps"] == 3 and 0 < effective["residual"] < 64
    assert set(outcome["metrics"]) == {"decode", "restore", "encode", "nfe"}


def test_progress_and_previews_come(worker):
    job = worker.submit(task="super-resolve", prior="blocks:seconds=0.05", noise="auto", previews=True)
    worker.succeed(job)
    told = [e["data"] for e in worker.events(job) if e["type"] == "progress"]
    assert told[-1]["step"] == told[-1]["steps"] == 5
    assert [t["fraction"] for t in told] == sorted(t["fraction"] for t in told)
    shown = [e["data"] for e in worker.events(job) if e["type"] == "preview"]
    assert shown and shown[0]["steps"] == 5 and 0 < shown[0]["step"] <= 5


@pytest.mark.parametrize(
    ("task", "given", "said"),
    [("denoise", {"noise": 5}, "it does no denoise"), ("super-resolve", {"scale": 2, "noise": "auto"}, "not 2")],
)
def test_what_it_cannot_do_fails_with_what_it_can(worker, task, given, said):
    type, data = worker.end(worker.submit(task=task, prior="blocks", **given))
    assert (type, data["code"]) == ("failed", "invalid_parameter")
    assert said in data["message"] and "only enlarges" in data["message"]


def test_canceling_stops_before_the_next_tile_and_others_go_on_meanwhile(worker):
    job = worker.submit(task="super-resolve", prior="blocks:seconds=0.05", noise="auto", steps=1000)
    worker.wait_for(job, "progress")
    worker.succeed(worker.submit())
    assert worker.events(job)[-1]["type"] == "progress"
    worker.worker.cancel((job, 1))
    assert worker.end(job)[0] == "canceled"
    calls = worker.worker._priors.get("blocks:seconds=0.05").enlarger.calls
    worker.succeed(worker.submit(task="super-resolve", prior="blocks", noise="auto"))
    assert worker.worker._priors.get("blocks:seconds=0.05").enlarger.calls <= calls + 1


def test_jobs_of_one_prior_take_turns(worker):
    first, second = (
        worker.submit(task="super-resolve", prior="blocks:seconds=0.01", noise="auto", steps=20) for _ in range(2)
    )
    worker.succeed(first)
    assert any(e["type"] == "progress" and e["data"]["step"] > 5 for e in worker.events(second))
    worker.succeed(second)


def test_too_little_memory_shrinks_tiles_and_garbage_fails_its_job_alone(worker):
    outcome = worker.succeed(worker.submit(task="super-resolve", prior="blocks:side=32", noise="auto"))
    assert outcome["degraded"] == "tile=32;reason=oom" and outcome["warnings"][0]["code"] == "out_of_memory"
    type, data = worker.end(worker.submit(task="super-resolve", prior="blocks:side=8", noise="auto"))
    assert (type, data["code"]) == ("failed", "out_of_memory")
    type, data = worker.end(worker.submit(task="super-resolve", prior="blocks:nan=1", noise="auto"))
    assert (type, data["code"]) == ("failed", "numerical")
    worker.succeed(worker.submit())


def test_a_preview_that_fails_fails_its_job_and_not_the_worker(worker, monkeypatch):
    monkeypatch.setattr("service.worker.stages.preview", lambda picture, step, steps: 1 / 0)
    type, data = worker.end(worker.submit(task="super-resolve", prior="blocks", noise="auto", previews=True))
    assert type == "failed" and data["code"] == "internal"
    worker.succeed(worker.submit())


def test_a_device_lost_over_it_is_lost(start):
    worker = start()
    with pytest.raises(DeviceLostError) as caught:
        worker.end(job := worker.submit(task="super-resolve", prior="blocks:fatal=2", noise="auto"))
    assert [j.ticket.job_id for j in caught.value.jobs] == [job]


def test_it_can_be_the_default_prior(start):
    worker = start(prior="blocks")
    worker.worker.warm_up()
    worker.succeed(worker.submit(task="super-resolve", noise="auto"))
