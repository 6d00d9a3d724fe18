"""Tiles of many jobs share calls; nobody's result depends on it, nobody starves, a canceled job stops at once."""

from __future__ import annotations

import time
from itertools import pairwise

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


def test_a_thumbnail_waits_for_one_tile_of_a_large_picture_at_a_time(start):
    """Fairness, counted in denoiser calls, whatever they take."""
    worker = start(max_batch=1)
    large = worker.submit(worker.picture(1500, 1500), prior="slow:seconds=0.01")  # some 200 tiles
    worker.wait_for(large, "progress")
    small = worker.submit(worker.picture(24, 24), "super-resolve", prior="slow:seconds=0.01", scale=2, fidelity=0.4)
    worker.succeed(small)
    sides = [shape[2] for shape in calls(worker, "slow:seconds=0.01")]
    worker.worker.cancel((large, 1))
    turns = [index for index, side in enumerate(sides) if side == 48]
    assert len(turns) == 8
    tiling = worker.worker._priors.get("slow:seconds=0.01").tiling
    assert turns[-1] < len(tiling.cut(torch.zeros(1, 3, 1500, 1500), torch.ones(1))), "the large one was done first"
    assert max(after - before for before, after in pairwise(turns)) <= 2, "one tile of the large one in between"


def test_interactive_jobs_get_four_fifths_of_the_calls_and_batch_jobs_the_rest(start):
    worker = start(max_batch=1)
    given = {"task": "super-resolve", "prior": "slow:seconds=0.01", "scale": 2, "fidelity": 0.4}
    patient = worker.submit(worker.picture(20, 20), **given, steps=1000, priority="batch")
    worker.wait_for(patient, "progress")
    eager = worker.submit(worker.picture(24, 24), **given, steps=80)
    worker.succeed(eager)
    worker.worker.cancel((patient, 1))
    sides = [shape[2] for shape in calls(worker, given["prior"])]
    first, last = sides.index(48), len(sides) - 1 - sides[::-1].index(48)
    assert sides.count(48) == 80
    # A fifth of the pixels: a quarter of those of the interactive job's 80 calls.
    assert sides[first:last].count(40) == pytest.approx(80 * 48**2 / 4 / 40**2, abs=2)


def calls(worker, prior):
    """Shapes of a prior's calls, in order."""
    return worker.worker._priors.get(prior).denoiser.shapes


@pytest.mark.parametrize(("width", "at"), [(40, 3), (600, 4)])
def test_a_running_job_is_canceled_within_one_step(start, width, at):
    """The call that runs is the last, be it in the middle of a picture."""
    worker = start(max_batch=1)
    prior = worker.worker._priors.get("gate").denoiser
    job = worker.submit(worker.picture(width, 40), "super-resolve", prior="gate", scale=2, fidelity=0.4)
    for _ in range(at - 1):
        assert prior.entered.acquire(timeout=30)
        prior.open.release()
    assert prior.entered.acquire(timeout=30)
    worker.worker.cancel((job, 1))
    prior.open.release()
    assert worker.end(job)[0] == "canceled"
    worker.succeed(worker.submit())  # the device is free
    assert prior.calls == at


def test_canceling_what_has_ended_or_never_was_changes_nothing(worker):
    job = worker.submit()
    worker.succeed(job)
    worker.worker.cancel((job, 1))
    worker.worker.cancel(("unknown", 3))
    worker.succeed(worker.submit())
    assert [e["type"] for e in worker.events(job)].count("canceled") == 0


@pytest.mark.parametrize(("patience", "calls_in_all"), [(40.0, 1), (0.0, 2)])
def test_a_thumbnail_is_decoded_and_encoded_between_two_tiles(start, monkeypatch, patience, calls_in_all):
    """Once it is there, it waits for no call but its own; an impatient loop would give the large one more tiles."""
    monkeypatch.setattr("service.worker.worker.PATIENCE", patience)
    worker = start(max_batch=1)
    prior, made, say = "slow:seconds=0.05", {}, worker.worker._say

    def listen(message):
        if message["say"] == "event":
            made[message["job"], message["type"]] = len(calls(worker, prior))
        say(message)

    monkeypatch.setattr(worker.worker, "_say", listen)
    large = worker.submit(worker.picture(1500, 1500), prior=prior)
    worker.wait_for(large, "progress")
    small = worker.submit(worker.picture(24, 24), "denoise", prior=prior, noise=20)
    worker.succeed(small)
    worker.worker.cancel((large, 1))
    between = made[small, "succeeded"] - made[small, "started"]
    assert between == 1 if calls_in_all == 1 else between >= calls_in_all
