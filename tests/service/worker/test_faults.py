"""Faults of the device: less memory, a lost device, garbage; each job gets what is its own."""

from __future__ import annotations

import pytest
import torch

from service.worker.device import DeviceLostError
from service.worker.faults import Fault, classify

SR = {"task": "super-resolve", "scale": 2, "fidelity": 0.4}


@pytest.mark.parametrize("call", [1, 2, 5, 9, 16])
def test_out_of_memory_at_any_call_gives_the_result_of_smaller_tiles_and_says_so(start, call):
    worker, reference = start(max_batch=1), start(max_batch=1, tile=64)
    image = worker.picture(70, 60)  # two tiles of up to 128 pixels in each of eight calls, six of up to 64
    outcome = worker.succeed(worker.submit(image, prior=f"oom:side=64,at={call}", **SR))
    expected = reference.succeed(reference.submit(image, prior="cheap", **SR))
    assert outcome["sha256"] == expected["sha256"]
    assert outcome["degraded"] == "tile=64;reason=oom" and expected["degraded"] == ""
    assert [w["code"] for w in outcome["warnings"]] == ["out_of_memory"]
    assert outcome["effective"]["degraded"] == "tile=64;reason=oom" and outcome["effective"]["nfe"] == 8
    whole = worker.succeed(worker.submit(image, prior="cheap", **SR))
    assert whole["sha256"] != outcome["sha256"], "the tiles must matter, or the test shows nothing"


def test_a_batch_too_large_is_halved_and_nobody_s_result_changes(start):
    worker = start(max_batch=8)
    image = worker.picture(300, 200)
    alone = worker.succeed(worker.submit(image, prior="cheap"))
    outcome = worker.succeed(worker.submit(image, prior="oom:rows=3"))
    assert outcome["sha256"] == alone["sha256"] and outcome["degraded"] == "batch=2;reason=oom"
    again = worker.succeed(worker.submit(image, prior="oom:rows=3"))
    assert again["degraded"] == ""  # the batches are small now: nothing went otherwise than planned


def test_memory_for_no_tile_at_all_fails_the_job_and_spares_the_worker(worker):
    job = worker.submit(worker.picture(200, 200), prior="oom:side=1")
    other = worker.submit()
    type, data = worker.end(job)
    assert type == "failed" and data["code"] == "out_of_memory"
    worker.succeed(other)
    worker.wait(lambda: any(m["say"] == "report" and m["report"]["oom"]["failed"] for _, m in worker.said))


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
        (ValueError("sizes of tensors must match"), Fault.OTHER),
        (RuntimeError("expected scalar type Float but found Half"), Fault.OTHER),
    ],
)
def test_the_kinds_of_faults_are_told_apart(error, fault):
    assert classify(error) is fault
