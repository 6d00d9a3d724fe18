"""R1: kill -9 of a worker under load loses no job; each ends once, and only by the attempt that holds it."""

from __future__ import annotations

import os
import random
import re
import signal
import time

import pytest

from tests.service.faults.conftest import Start
from tests.service.faults.processes import Server, ask, ended, events, job, picture, result, submit

JOBS = 24
#: What the log of a server says whose write is refused.
REFUSED = re.compile("it is not taken|lost its job|lease of job .* is lost")


def kill_worker(server: Server) -> None:
    """As `kill -9` does, whatever it is doing."""
    server.until(lambda: server.worker() is not None)
    worker = server.worker()
    assert worker is not None
    os.kill(worker, signal.SIGKILL)
    server.until(lambda: server.worker() != worker)


@pytest.mark.slow
@pytest.mark.parametrize("kills", [1, 3])
def test_every_job_of_a_killed_worker_ends_once(start: Start, kills: int) -> None:
    server = start(devices="cpu,cpu", jobs_at_once=8, max_attempts=2)
    choice = random.Random(kills)
    with server.client() as client:
        expected = [ask(client, picture(seed=i), prior="cheap").content for i in range(4)]
        jobs = [submit(client, picture(seed=i % 4), prior="slow-seconds_0.04") for i in range(JOBS)]
        for _ in range(kills):
            server.until(lambda: sum(job(client, j)["state"] == "running" for j in jobs) > 4)
            time.sleep(choice.uniform(0.0, 0.5))
            kill_worker(server)
        done = [ended(client, j) for j in jobs]
        failed = [d for d in done if d["state"] != "succeeded"]
        # A job in whose tiles a worker died is tried once more, apart from others; to meet two kills is bad luck.
        assert all(d["error"]["code"] == "worker_crashed" for d in failed)
        assert len(failed) <= (0 if kills == 1 else 2), failed
        assert any(d["attempt"] == 2 for d in done), "nobody was hit: the test shows nothing"
        for index, (job_id, found) in enumerate(zip(jobs, done, strict=True)):
            told = events(client, job_id)
            assert [number for number, _ in told] == list(range(1, len(told) + 1))
            kinds = [kind for _, kind in told]
            assert kinds.count("completed") == 1 and kinds[-1] == "completed"
            if found["state"] == "succeeded":
                assert result(client, job_id) == expected[index % 4]
        assert {d["state"] for d in (job(client, j) for j in jobs)} <= {"succeeded", "failed"}


@pytest.mark.seldom
@pytest.mark.slow
def test_a_server_that_slept_through_its_lease_ends_nobody_s_job(start: Start) -> None:
    """A stale write: a stopped server wakes up while another does its jobs; what it still says is not taken."""
    given = {"lease_seconds": 2, "jobs_at_once": 4}
    sleeper = start(log="sleeper", **given)
    with sleeper.client() as client:
        jobs = [submit(client, picture(seed=i), prior="slow-seconds_0.05", steps=60) for i in range(4)]
        sleeper.until(lambda: all(job(client, j)["state"] == "running" for j in jobs))
    sleeper.signal(signal.SIGSTOP)  # its worker goes on to the end, and says so into the pipe
    other = start(log="other", **given)
    with other.client() as client:
        other.until(lambda: all(job(client, j)["attempt"] == 2 for j in jobs))
        sleeper.signal(signal.SIGCONT)
        done = [ended(client, j) for j in jobs]
        assert [d["state"] for d in done] == ["succeeded"] * 4 and [d["attempt"] for d in done] == [2] * 4
        sleeper.signal()
        assert sleeper.wait() == 0
        assert [ended(client, j) for j in jobs] == done
        for index, job_id in enumerate(jobs):
            assert [kind for _, kind in events(client, job_id)].count("completed") == 1
            assert result(client, job_id) == ask(client, picture(seed=index), prior="cheap", steps=60).content
            refused = [line for line in sleeper.text().splitlines() if job_id in line and REFUSED.search(line)]
            assert refused and not any(job_id in line and REFUSED.search(line) for line in other.text().splitlines())
