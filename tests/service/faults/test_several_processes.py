"""Several processes: refused as parts of one server, sharing the work as several servers on one store."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.service.faults.processes import ROOT, Server, picture
from tests.service.servers import free_port

Start = Callable[..., Server]


@pytest.mark.parametrize("asked", ["--workers", "WEB_CONCURRENCY"])
def test_uvicorn_with_several_workers_ends_at_once_and_says_why(tmp_path: Path, asked: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PELLUCID_DATA_DIR": str(tmp_path / "data")}
    command = [sys.executable, "-m", "uvicorn", "service.app:app", "--port", str(free_port())]
    if asked == "--workers":
        command += ["--workers", "3"]
    else:
        environment["WEB_CONCURRENCY"] = "3"
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert "uvicorn was told to start 3 processes (--workers or WEB_CONCURRENCY)" in done.stderr
    assert "Traceback" not in done.stderr and "Started server process" not in done.stderr
    assert not (tmp_path / "data").exists(), "nothing was opened"


def test_a_server_of_one_process_takes_no_notice_of_web_concurrency(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEB_CONCURRENCY", "4")
    server = start()
    with server.client() as client:
        assert client.post("/v1/denoise?noise=20&prior=cheap", content=picture()).status_code == 200
    server.signal()
    assert server.wait() == 0


def test_two_servers_on_one_sqlite_store_do_each_job_once(start: Start) -> None:
    servers = [start(log=name, jobs_at_once=2) for name in ("one", "two")]
    clients = [server.client() for server in servers]
    data, query = picture(), "/v1/denoise?noise=20&prior=slow-seconds_0.1"

    def restored(number: int) -> str:
        answer = clients[number % 2].post(query, content=data)
        assert answer.status_code == 200, answer.text
        return str(answer.headers["pellucid-job"])

    with ThreadPoolExecutor(12) as pool:
        jobs = list(pool.map(restored, range(24)))
    assert len(set(jobs)) == 24
    for number, job in enumerate(jobs):
        other = clients[1 - number % 2]
        seen = other.get(f"/v1/jobs/{job}").json()
        assert (seen["state"], seen["attempt"]) == ("succeeded", 1)
        events = other.get(f"/v1/jobs/{job}/events").text
        assert (events.count("event: started"), events.count("event: completed")) == (1, 1)
    counts = [_ended(client.get("/metrics").text) for client in clients]
    assert sum(counts) == 24 and min(counts) > 0, "each server counts what it did, and both did something"

    # One who cancels at the other server is heard within the second between two looks.
    slow = "/v1/denoise?noise=20&fidelity=0&steps=500&prior=slow-seconds_0.05"
    job = clients[0].post(slow, content=data, headers={"Prefer": "respond-async"}).json()["id"]
    servers[0].until(lambda: clients[1].get(f"/v1/jobs/{job}").json()["state"] == "running")
    assert clients[1].post(f"/v1/jobs/{job}/cancel").status_code == 202
    begun = time.monotonic()
    servers[0].until(lambda: clients[1].get(f"/v1/jobs/{job}").json()["state"] == "canceled")
    assert time.monotonic() - begun < 15
    for client in clients:
        client.close()
    for server in servers:
        server.signal()
    assert [server.wait() for server in servers] == [0, 0]


def _ended(metrics: str) -> int:
    lines = [line for line in metrics.splitlines() if line.startswith('pellucid_jobs_total{outcome="succeeded"')]
    return int(sum(float(line.rpartition(" ")[2]) for line in lines))
