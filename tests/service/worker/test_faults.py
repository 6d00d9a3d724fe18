"""Faults of the device: less memory, a lost device, garbage; each job gets what is its own."""

from __future__ import annotations

import gc
import threading

import pytest
import torch

from models.denoiser import TorchDenoiser
from restore.errors import ParameterError, RuntimeUnavailableError, UnknownPriorError
from restore.prior import PriorInfo
from service.engine.protocol import Ticket
from service.worker import stages
from service.worker.device import DeviceLostError
from service.worker.faults import Fault, classify
from service.worker.job import WorkerJob

SR = {"task": "super-resolve", "scale": 2, "fidelity": 0.8}


def test_out_of_memory_at_any_call_gives_the_result_of_smaller_tiles_and_says_so(start):
    worker, reference = start(max_batch=1), start(max_batch=1, tile=64)
    image = worker.picture(70, 60)  # two tiles of up to 128 pixels in each of eight calls, six of up to 64
    expected = reference.succeed(reference.submit(image, prior="cheap", **SR))
    whole = worker.succeed(worker.submit(image, prior="cheap", **SR))
    assert expected["degraded"] == whole["degraded"] == ""
    assert whole["sha256"] != expected["sha256"], "the tiles must matter, or the test shows nothing"
    for call in range(1, 17):
        outcome = worker.succeed(worker.submit(image, prior=f"oom:side=64,at={call}", **SR))
        assert outcome["sha256"] == expected["sha256"], f"memory ran out at call {call}"
        assert outcome["degraded"] == "tile=64;reason=oom"
        assert [w["code"] for w in outcome["warnings"]] == ["out_of_memory"]
        assert outcome["effective"]["degraded"] == "tile=64;reason=oom" and outcome["effective"]["nfe"] == 8
    whole = worker.succeed(worker.submit(image, prior="oom:side=64,at=17", **SR))
    assert whole["degraded"] == "", "sixteen calls are all"


@pytest.mark.parametrize(("side", "tiles"), [(150, [80]), (79, [80, 64]), (64, [80, 64])])
def test_tiles_are_halved_again_until_they_fit_and_64_pixels_are_tried_before_giving_up(start, side, tiles):
    worker, reference = start(max_batch=1), start(tile=tiles[-1])
    image = worker.picture(150, 100)  # tiles of 168 x 120 pixels
    outcome = worker.succeed(worker.submit(image, prior=f"oom:side={side},tile=192", **SR))
    expected = reference.succeed(reference.submit(image, prior="cheap:tile=192", **SR))
    assert outcome["sha256"] == expected["sha256"]
    assert outcome["degraded"] == f"tile={tiles[-1]};reason=oom" and len(outcome["warnings"]) == len(tiles)


def test_uncertainty_is_that_of_the_smaller_tiles_too(start):
    worker, reference = start(max_batch=1), start(tile=64)
    image, given = worker.picture(70, 60), {"samples": 3, **SR}
    found = worker.succeed(worker.submit(image, prior="oom:side=64,at=20", **given))
    expected = reference.succeed(reference.submit(image, prior="cheap", **given))
    for role in ("result", "uncertainty"):
        assert worker.blobs.get(found["outputs"][role]) == reference.blobs.get(expected["outputs"][role])
    assert found["degraded"] == "tile=64;reason=oom"


def test_who_shares_a_call_with_one_that_starves_is_not_touched(start):
    """One call holds tiles of several jobs; memory is too little for one picture's only."""
    worker = start(max_batch=8)
    small = [worker.picture(30, 30, seed=i) for i in range(4)]
    alone = [worker.succeed(worker.submit(image, prior="cheap", **SR)) for image in small]
    jobs = [worker.submit(image, prior="oom:side=64", **SR) for image in small]
    large = worker.submit(worker.picture(70, 60), prior="oom:side=64", **SR)
    for job, expected in zip(jobs, alone, strict=True):
        outcome = worker.succeed(job)
        assert outcome["sha256"] == expected["sha256"] and outcome["degraded"] == ""
    assert "tile=64;reason=oom" in worker.succeed(large)["degraded"]


def test_a_batch_too_large_is_halved_and_nobody_s_result_changes(start):
    worker = start(max_batch=8)
    image = worker.picture(420, 200)  # eight tiles of up to 128 pixels: 8, then 4, then 2 at a time
    alone = worker.succeed(worker.submit(image, prior="cheap"))
    outcome = worker.succeed(worker.submit(image, prior="oom:rows=3"))
    assert outcome["sha256"] == alone["sha256"] and outcome["degraded"] == "batch=2;reason=oom"
    assert [w["code"] for w in outcome["warnings"]] == ["out_of_memory"] * 2
    again = worker.succeed(worker.submit(image, prior="oom:rows=3"))
    assert again["sha256"] == alone["sha256"]
    assert again["degraded"] == ""  # the batches are small now: nothing went otherwise than planned


def test_calls_of_smaller_tiles_hold_as_many_pixels_as_memory_had_room_for(start):
    worker = start(max_batch=16)
    worker.succeed(worker.submit(worker.picture(420, 200), prior="oom:rows=3"))  # two of about 128 x 128
    jobs = [worker.submit(worker.picture(40, 40, seed=i), prior="oom:rows=8") for i in range(2)]
    for job in jobs:
        worker.succeed(job)
    prior = worker.worker._priors.get("oom:rows=3")
    small, large = waiting_tiles(prior, 40), waiting_tiles(prior, 128)
    assert worker.worker._device.rows(large) <= 2 < worker.worker._device.rows(small) <= 16


def waiting_tiles(prior, side):
    job = WorkerJob(Ticket("t", 1, 1, "denoise", {}, {}))
    job.prior, job.tiles = prior, prior.tiling.cut(torch.zeros(1, 3, side, side), torch.ones(1))
    return job


def test_memory_for_no_tile_at_all_fails_the_job_and_spares_the_worker(worker):
    job = worker.submit(worker.picture(200, 200), prior="oom:side=1")
    other = worker.submit()
    type, data = worker.end(job)
    assert type == "failed" and data["code"] == "out_of_memory"
    worker.succeed(other)
    worker.wait(lambda: any(m["say"] == "report" and m["report"]["oom"]["failed"] for _, m in worker.said))


def test_memory_is_looked_for_among_what_came_since_the_start_only(start, monkeypatch):
    """A worker has some hundred thousand objects from the start; a job may run out of memory a dozen times."""
    ballast = [[number] for number in range(300_000)]
    looked, collect = [], gc.collect
    monkeypatch.setattr("service.worker.device.gc.collect", lambda: looked.append(len(gc.get_objects())) or collect())
    worker = start()
    assert worker.end(worker.submit(worker.picture(200, 200), prior="oom:side=1"))[0] == "failed"
    assert len(looked) > 10
    assert max(looked) < len(ballast)
    worker.__exit__()
    assert len(gc.get_objects()) > len(ballast), "afterwards they are looked at again"


def test_garbage_is_computed_again_and_the_job_says_so(worker):
    outcome = worker.succeed(worker.submit(prior="nan:at=1"))
    assert outcome["degraded"] == "precision=float32;reason=nan"
    assert outcome["warnings"][0]["code"] == "numerical"
    assert outcome["sha256"] == worker.succeed(worker.submit(worker.picture(), prior="cheap"))["sha256"]


def test_garbage_twice_fails_the_job(worker):
    type, data = worker.end(worker.submit(prior="nan"))
    assert type == "failed" and data["code"] == "numerical" and "float32" in data["message"]


def test_garbage_of_a_prior_that_cannot_be_had_in_float32_fails_the_job(worker):
    assert worker.end(worker.submit(prior="half"))[1]["code"] == "numerical"


def test_too_little_memory_for_the_second_try_leads_to_smaller_tiles(start):
    worker, reference = start(max_batch=1), start(tile=64)
    image = worker.picture(70, 60)
    outcome = worker.succeed(worker.submit(image, prior="nan:at=3,then=1", **SR))
    assert outcome["sha256"] == reference.succeed(reference.submit(image, prior="cheap", **SR))["sha256"]
    assert outcome["degraded"] == "tile=64;reason=oom"


def test_all_fallbacks_of_a_job_are_told(start):
    worker, reference = start(max_batch=1), start(tile=64)
    image = worker.picture(70, 60)
    outcome = worker.succeed(worker.submit(image, prior="oom:side=64,at=3,nan=5", **SR))
    assert outcome["sha256"] == reference.succeed(reference.submit(image, prior="cheap", **SR))["sha256"]
    assert outcome["degraded"] == "tile=64;reason=oom, precision=float32;reason=nan"


def test_a_device_lost_during_the_second_try_is_lost(start):
    worker = start()
    with pytest.raises(DeviceLostError) as caught:
        worker.end(job := worker.submit(prior="nan:at=1,then=2"))
    assert [j.ticket.job_id for j in caught.value.jobs] == [job]


def test_an_overflow_is_not_hidden_by_clipping():
    """A network whose answer is infinite gives NaN, not a white picture."""

    class Overflows(torch.nn.Module):
        def forward(self, x, sigma):
            return torch.where(torch.arange(x.shape[3]) == 5, sigma.view(-1, 1, 1, 1) * torch.inf, x)

    answer = TorchDenoiser(Overflows(), PriorInfo("p"), "cpu", "fp32")(torch.zeros(1, 3, 8, 8), torch.tensor([0.5]))
    assert bool(answer[..., 5].isnan().all()) and bool((answer[..., :5] == 0).all())


def test_a_device_lost_while_a_prior_is_loaded_is_lost(start):
    worker = start()
    with pytest.raises(DeviceLostError) as caught:
        worker.end(job := worker.submit(prior="unloadable:fatal=1"))
    assert [j.ticket.job_id for j in caught.value.jobs] == [job]


def test_a_preview_that_fails_fails_its_job_and_not_the_worker(worker, monkeypatch):
    monkeypatch.setattr("service.worker.stages.preview", lambda picture, step, steps: 1 / 0)
    type, data = worker.end(worker.submit(previews=True))
    assert type == "failed" and data["code"] == "internal"
    worker.succeed(worker.submit())


def test_an_error_is_that_of_its_job_alone(worker):
    """One picture in a batch makes the denoiser raise; the others are answered."""
    bright = {"task": "super-resolve", "scale": 2, "fidelity": 0.0, "prior": "picky"}
    calm = [worker.submit(worker.picture(200, 200, seed=i), prior="picky", noise=5) for i in range(4)]
    bad = worker.submit(worker.picture(200, 200), **bright)
    type, data = worker.end(bad)
    assert type == "failed" and data["code"] == "internal" and "bright" not in data["message"]
    for job in calm:
        worker.succeed(job)


def test_what_an_unexpected_error_says_stays_in_the_log(worker, caplog):
    type, data = worker.end(worker.submit(prior="wrong"))
    assert type == "failed" and data["code"] == "internal" and "secret" not in data["message"]
    assert "a secret of the server" in caplog.text


def test_a_fatal_fault_ends_the_worker_and_names_its_jobs(start):
    worker = start()
    job = worker.submit(prior="fatal:from=2", **SR)
    with pytest.raises(DeviceLostError) as caught:
        worker.end(job)
    assert [j.ticket.job_id for j in caught.value.jobs] == [job]
    assert all(e["type"] != "succeeded" for e in worker.events(job))


def test_a_picture_that_never_ends_decoding_ends_the_worker_and_is_blamed_alone(start, monkeypatch):
    worker, prepare, stuck = start(stage_seconds=0.5), stages.prepare, threading.Event()

    def hang_on_the_second(job, *others):
        if job.ticket.job_id == "job-2":
            stuck.wait(60)
        prepare(job, *others)

    monkeypatch.setattr(stages, "prepare", hang_on_the_second)
    bystander = worker.submit(prior="slow:seconds=0.01", steps=1000, **SR)
    worker.wait_for(bystander, "progress")
    hanging = worker.submit()
    try:
        with pytest.raises(DeviceLostError) as caught:
            worker.end(hanging)
    finally:
        stuck.set()
    assert caught.value.reason == "hang" and [job.ticket.job_id for job in caught.value.jobs] == [hanging]


def caused(error, cause):
    error.__cause__ = cause
    return error


def test_all_who_share_the_call_that_loses_the_device_are_named(start):
    worker = start(max_batch=2)
    jobs = [worker.submit(prior="fatal:rows=1,seconds=0.005", steps=1000, **SR) for _ in range(2)]
    with pytest.raises(DeviceLostError) as caught:
        worker.end(jobs[0])
    assert sorted(j.ticket.job_id for j in caught.value.jobs) == jobs


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), Fault.MEMORY),
        (MemoryError(), Fault.MEMORY),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:114] . DefaultCPUAllocator: can't allocate memory"),
            Fault.MEMORY,
        ),
        (RuntimeError("CUDA error: out of memory"), Fault.MEMORY),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), Fault.MEMORY),
        (RuntimeError("bfc_arena.cc: Failed to allocate memory for requested buffer of size 4096"), Fault.MEMORY),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), Fault.FATAL),
        (RuntimeError("CUDA error: device-side assert triggered"), Fault.FATAL),
        (RuntimeError("CUDA error: uncorrectable ECC error encountered"), Fault.FATAL),
        (RuntimeError("CUDA error: unspecified launch failure"), Fault.FATAL),
        (caused(RuntimeUnavailableError("cannot use cuda:0"), RuntimeError("CUDA error: initialization")), Fault.FATAL),
        (caused(RuntimeUnavailableError("cannot use cuda:0"), RuntimeError("CUDA out of memory")), Fault.MEMORY),
        (UnknownPriorError("no prior 'CUDA error'"), Fault.OTHER),  # a request's own words
        (ParameterError("unknown task 'out of memory'"), Fault.OTHER),
        (ValueError("sizes of tensors must match"), Fault.OTHER),
        (RuntimeError("expected scalar type Float but found Half"), Fault.OTHER),
    ],
)
def test_the_kinds_of_faults_are_told_apart(error, fault):
    assert classify(error) is fault
