"""R13: a picture restored alone or with seven others is the same picture, whatever runs the network."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.runtime.names import PRECISIONS
from restore.errors import RuntimeUnavailableError
from tests.service.worker.priors_for_tests import load_network

LOADER = f"{Path(__file__).with_name('priors_for_tests.py')}:load_network"
#: Every runtime in every precision; compiling takes minutes.
RUNTIMES = [
    pytest.param(f"{name}:{precision}", marks=[pytest.mark.slow] if name == "torch-compile" else [])
    for name, precisions in PRECISIONS.items()
    for precision in precisions
    if precision != "auto"
]


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_result_has_the_same_bits_alone_and_with_seven_others(start, runtime):
    try:
        load_network(runtime=runtime, device="cpu")
    except RuntimeUnavailableError as error:
        pytest.skip(str(error))
    worker = start(loader=LOADER, runtime=runtime, max_batch=8, threads=1)
    given = {"task": "super-resolve", "scale": 2, "fidelity": 0.4, "steps": 3}
    image = worker.picture(45, 40, seed=9)  # four tiles in each call
    alone = worker.result(worker.submit(image, **given))
    others = [worker.submit(worker.picture(45 - 4 * (i % 3), 40, seed=i), **given, seed=i) for i in range(7)]
    job = worker.submit(image, **given)
    assert worker.result(job) == alone
    for other in others:
        worker.succeed(other)
