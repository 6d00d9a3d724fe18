"""R2: kill -9 of the server: after a restart queued and running jobs finish, finished results are the same bytes."""

from __future__ import annotations

import random
import threading
import time
from typing import Any

import httpx
import pytest

from tests.service.faults.conftest import Start
from tests.service.faults.processes import (
    Server,
    alive,
    ask,
    children,
    ended,
    events,
    job,
    picture,
    result,
    submit,
)


def kill(server: Server) -> None:
    """As `kill -9` does; its processes end with it."""
    assert server.process is not None
    processes = children(server.process.pid, "service.")
    assert len(processes) > 1, "a worker and decoders"
    server.kill()
    deadline = time.monotonic() + 30
    while any(map(alive, processes)):
        assert time.monotonic() < deadline, "a process outlives its server"
        time.sleep(0.02)


@pytest.mark.slow
def test_everything_accepted_is_finished_after_a_kill(start: Start) -> None:
    server = start(jobs_at_once=3, max_batch=1)
    with server.client() as client:
        finished = [submit(client, picture(seed=i), prior="cheap") for i in range(3)]
        before = [(ended(client, j), result(client, j), events(client, j)) for j in finished]
        expected = [ask(client, picture(seed=i), prior="cheap", steps=30).content for i in range(6)]
        cut = [submit(client, picture(seed=i), prior="slow-seconds_0.1", steps=30) for i in range(6)]
        server.until(lambda: all(job(client, j)["progress"]["step"] > 0 for j in cut[:3]))
        assert [job(client, j)["state"] for j in cut] == ["running"] * 3 + ["queued"] * 3
        seen = [number for number, _ in followed(server, cut[0], 3)]
    kill(server)
    server.start()
    with server.client() as client:
        for job_id, (as_it_was, data, told) in zip(finished, before, strict=True):
            assert (job(client, job_id), result(client, job_id), events(client, job_id)) == (as_it_was, data, told)
        done = [ended(client, j) for j in cut]
        assert [d["state"] for d in done] == ["succeeded"] * 6
        assert [d["attempt"] for d in done] == [2] * 3 + [1] * 3
        assert [result(client, j) for j in cut] == expected
        # Who followed the first job goes on where the connection was lost.
        rest = events(client, cut[0], after=seen[-1])
        assert rest[0][0] == seen[-1] + 1 and rest[-1][1] == "completed"
        assert [kind for _, kind in events(client, cut[0])].count("completed") == 1


@pytest.mark.slow
def test_a_caller_cut_off_asks_again_with_its_key_and_gets_the_same_job(start: Start) -> None:
    server, lost, key = start(), [], {"Idempotency-Key": "once"}

    def wait() -> None:
        with server.client() as client, pytest.raises(httpx.TransportError):
            ask(client, picture(), key, prior="slow-seconds_0.1", steps=30)
        lost.append(True)

    caller = threading.Thread(target=wait)
    caller.start()
    with server.client() as client:
        server.until(lambda: any(j["progress"]["step"] for j in listed(client)))
        (first,) = listed(client)
        kill(server)
    caller.join()
    server.start()
    with server.client() as client:
        again = ask(client, picture(), key, prior="slow-seconds_0.1", steps=30)
        assert lost and again.status_code == 200 and again.headers["Idempotent-Replayed"] == "true"
        assert again.headers["Pellucid-Job"] == first["id"] and len(listed(client)) == 1
        assert again.content == ask(client, picture(), prior="cheap", steps=30).content


@pytest.mark.seldom
@pytest.mark.slow
def test_killed_again_and_again_a_server_still_finishes_all(start: Start) -> None:
    server, choice = start(jobs_at_once=4), random.Random(0)
    jobs: dict[str, int] = {}
    bytes_of: dict[str, bytes] = {}
    with server.client() as client:
        expected = [ask(client, picture(seed=i), prior="cheap").content for i in range(4)]
    for life in range(4):
        with server.client() as client:
            for i in range(8):
                jobs[submit(client, picture(seed=i % 4), prior="slow-seconds_0.05")] = i % 4
            time.sleep(choice.uniform(0.0, 3.0))
            for job_id in jobs:
                if job_id not in bytes_of and job(client, job_id)["state"] == "succeeded":
                    bytes_of[job_id] = result(client, job_id)
        if life < 3:
            kill(server)
            server.start(ready=choice.random() < 0.5)
            server.until(server.ready)
    with server.client() as client:
        for job_id, index in jobs.items():
            assert ended(client, job_id)["state"] == "succeeded"
            assert result(client, job_id) == bytes_of.get(job_id, expected[index]) == expected[index]
            assert [kind for _, kind in events(client, job_id)].count("completed") == 1


def listed(client: httpx.Client) -> list[dict[str, Any]]:
    """All jobs."""
    return list(client.get("/v1/jobs?limit=100").json()["data"])


def followed(server: Server, job_id: str, count: int) -> list[tuple[int, str]]:
    """(id, type) of a job's first events, as they come."""
    found: list[tuple[int, str]] = []
    number = 0
    with server.client() as client, client.stream("GET", f"/v1/jobs/{job_id}/events") as answer:
        for line in answer.iter_lines():
            if line.startswith("id: "):
                number = int(line[4:])
            elif line.startswith("event: "):
                found.append((number, line[7:]))
            if len(found) == count:
                break
    return found
