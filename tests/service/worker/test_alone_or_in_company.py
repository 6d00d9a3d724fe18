"""R13: a picture restored alone or with seven others is the same picture to the last bit, whatever runs the network."""

from __future__ import annotations

import pytest
import torch

from models.registry import load_denoiser
from models.runtime.names import PRECISIONS
from restore.errors import RuntimeUnavailableError
from service.worker import stages

#: Every runtime in every precision. Others than torch export the network first, which is slow, or compile it: slower.
MARKS = {"torch": [], "torch-compile": [pytest.mark.slow, pytest.mark.seldom]}
RUNTIMES = [
    pytest.param(f"{name}:{precision}", marks=MARKS.get(name, [pytest.mark.slow]))
    for name, precisions in PRECISIONS.items()
    for precision in precisions
    if precision != "auto"
]


@pytest.fixture
def means(monkeypatch):
    """Restored pictures by job before they are rounded to 8 bits: float32 tells what bytes would hide."""
    found, complete = {}, stages.complete

    def remember(job, mean, blobs):
        found[job.ticket.job_id] = mean
        return complete(job, mean, blobs)

    monkeypatch.setattr(stages, "complete", remember)
    return found


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_result_has_the_same_bits_alone_and_with_seven_others(start, means, runtime):
    try:
        load_denoiser(runtime=runtime, device="cpu")
    except RuntimeUnavailableError as error:
        pytest.skip(str(error))
    worker = start(loader="", runtime=runtime, max_batch=8, tile=64)
    given = {"task": "super-resolve", "scale": 2, "fidelity": 0.4, "steps": 2}
    image = worker.picture(32, 32, seed=9)
    alone = worker.submit(image, **given)
    worker.succeed(alone)
    others = [worker.submit(worker.picture(32 - 2 * (i % 3), 32, seed=i), **given) for i in range(7)]
    job = worker.submit(image, **given)
    worker.succeed(job)
    assert torch.equal(means[job], means[alone])
    for other in others:
        worker.succeed(other)
