"""Tiles of many jobs share calls; nobody's result depends on it, nobody starves, a canceled job stops at once."""

from __future__ import annotations

import time

import pytest
import torch

from models.registry import load_denoiser
from restore.prior import PriorInfo, Tiling
from restore.sampling.protocol import DenoiserCall
from service.engine.protocol import Ticket
from service.worker.batcher import Batcher
from service.worker.job import WorkerJob
from service.worker.priors import Prior


def waiting(name, tiles, priority="interactive", side=64, attempt=1):
    """A job with a call of so many tiles pending."""
    info = PriorInfo("p", receptive_field=9)
    job = WorkerJob(Ticket(name, 1, attempt, "denoise", {}, {}, priority=priority))
    job.prior = Prior("p", lambda x, sigma: x, Tiling(info, side, 0), info, "torch")
    x = torch.zeros(tiles, 3, side, side)
    job.call = DenoiserCall(x, torch.ones(tiles), 0, 1)
    job.tiles = job.prior.tiling.cut(job.call.x, job.call.sigma)
    return job


def served(batcher, rows=1):
    """Names in the order in which their tiles are taken, call by call."""
    calls = []
    while (batch := batcher.next(lambda job: rows)) is not None:
        calls.append([job.ticket.job_id for job, _ in batch.tiles])
    return calls


def test_jobs_take_turns_whatever_their_size():
    batcher = Batcher()
    for job in (waiting("large", 50), waiting("small", 1), waiting("medium", 3)):
        batcher.add(job)
    first = [name for call in served(batcher)[:6] for name in call]
    assert sorted(first[:3]) == ["large", "medium", "small"] and first.count("medium") == 2


def test_a_newcomer_is_served_next_however_long_others_have_waited():
    batcher = Batcher()
    batcher.add(waiting("large", 50))
    for _ in range(20):
        batcher.next(lambda job: 1)
    batcher.add(waiting("small", 2))
    assert [call[0] for call in served(batcher)[:4]].count("small") == 2


def test_who_was_away_saves_no_time_up():
    batcher = Batcher()
    returning, other = waiting("returning", 1), waiting("other", 100)
    batcher.add(other)
    batcher.add(returning)
    for _ in range(40):
        batcher.next(lambda job: 1)
    again = waiting("returning", 30)
    returning.tiles, returning.call, returning.next_tile = again.tiles, again.call, 0
    batcher.add(returning)
    turns = [call[0] for call in served(batcher)[:20]]
    assert 9 <= turns.count("returning") <= 11


def test_batch_jobs_get_a_fifth_and_interactive_ones_the_rest():
    batcher = Batcher()
    batcher.add(waiting("patient", 100, "batch"))
    batcher.add(waiting("eager", 100))
    turns = [call[0] for call in served(batcher)[:100]]
    assert turns.count("patient") == pytest.approx(20, abs=1)


def test_tiles_of_one_shape_share_calls_and_others_do_not():
    batcher = Batcher()
    for job in (waiting("a", 3), waiting("b", 2), waiting("other", 2, side=32)):
        batcher.add(job)
    calls = served(batcher, rows=4)
    assert sorted(map(sorted, calls)) == [["a"], ["a", "a", "b", "b"], ["other", "other"]]


def test_a_job_blamed_before_shares_no_call():
    batcher = Batcher()
    for job in (waiting("a", 2), waiting("blamed", 2, attempt=2), waiting("b", 2)):
        batcher.add(job)
    for call in served(batcher, rows=8):
        assert len(set(call)) == 1 or "blamed" not in call


@pytest.mark.parametrize("mates", [7])
def test_a_result_has_the_same_bits_alone_and_in_company(start, mates):
    worker = start(max_batch=8)
    image = worker.picture(300, 200, seed=42)
    given = {"task": "super-resolve", "prior": "slow:seconds=0.002", "scale": 2, "fidelity": 0.4}
    alone = worker.result(worker.submit(image, **given))
    jobs = [worker.submit(worker.picture(300 - 30 * i, 200, seed=i), **given, seed=i) for i in range(mates)]
    job = worker.submit(image, **given)
    assert worker.result(job) == alone
    for other in jobs:
        worker.succeed(other)
    time.sleep(1.1)  # the last report
    worker.wait(lambda: max(worker.batches(), default=0) > 1)


def test_the_embedded_prior_s_answer_has_the_same_bits_alone_and_in_company(start):
    """With the real network on the CPU: what decides is that a call holds one tile, whatever the number of threads."""
    worker = start(loader="", max_batch=8, tile=64)
    image = worker.picture(64, 48, seed=9)
    alone = worker.result(worker.submit(image, noise=30))
    jobs = [worker.submit(worker.picture(64, 48, seed=i), noise=10 + i) for i in range(7)]
    job = worker.submit(image, noise=30)
    assert worker.result(job) == alone
    for other in jobs:
        worker.succeed(other)


def test_the_network_s_answer_does_not_depend_on_the_number_of_threads():
    denoiser = load_denoiser(device="cpu", runtime="torch").denoiser
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    threads = torch.get_num_threads()
    try:
        answers = []
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            answers.append(denoiser(x, torch.full((1,), 0.7)))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, answers[0]) for a in answers)


def test_a_thumbnail_is_not_starved_by_a_large_picture(worker):
    large = worker.submit(worker.picture(1500, 1500), prior="slow:seconds=0.02")
    worker.wait_for(large, "progress")
    small = worker.submit(worker.picture(24, 24), prior="slow:seconds=0.02")
    worker.succeed(small)
    assert worker.events(large)[-1]["type"] == "progress"  # about 200 tiles are left
    worker.worker.cancel((large, 1))


def test_a_running_job_is_canceled_between_two_tiles(start):
    worker = start(max_batch=1)
    job = worker.submit(worker.picture(900, 900), prior="slow:seconds=0.05")  # one call of many tiles
    worker.wait_for(job, "progress")
    worker.worker.cancel((job, 1))
    assert worker.end(job)[0] == "canceled"
    told = [e["data"]["fraction"] for e in worker.events(job) if e["type"] == "progress"]
    assert told[-1] < 0.9
    after = len(worker.said)
    time.sleep(1.5)
    assert all(m["say"] in ("beat", "report") and not m.get("jobs") for _, m in worker.said[after:])
    worker.succeed(worker.submit())


def test_canceling_what_has_ended_or_never_was_changes_nothing(worker):
    job = worker.submit()
    worker.succeed(job)
    worker.worker.cancel((job, 1))
    worker.worker.cancel(("unknown", 3))
    worker.succeed(worker.submit())
    assert [e["type"] for e in worker.events(job)].count("canceled") == 0
