"""Whatever is killed, paused or drained: no accepted job is lost, none ends twice, no late write is taken."""

from __future__ import annotations

import os
import signal
from collections import Counter
from typing import Any

import httpx
import pytest

from tests.service.conformance.site import Server, Site, until

pytestmark = pytest.mark.slow

#: About five seconds of work.
LONG: dict[str, Any] = {"prior": "slow.50", "steps": 100}


def ended_once(server: Server, job_id: str) -> bool:
    return Counter(kind for kind, _ in server.events(job_id))["completed"] == 1


def test_a_killed_worker_is_replaced_and_its_jobs_are_done(site: Site, alone: Server) -> None:
    jobs = [alone.submit(**LONG, seed=n) for n in range(3)]
    for job_id in jobs:
        alone.begun(job_id)
    for pid in site.workers(alone):
        os.kill(pid, signal.SIGKILL)
    for job_id in jobs:
        alone.until(job_id, "succeeded")
        assert ended_once(alone, job_id)
    assert any("requeued" in str(alone.events(job_id)) for job_id in jobs)


def test_a_job_that_kills_its_worker_is_tried_twice_and_harms_no_other(alone: Server) -> None:
    killer, innocent = alone.submit("crash.2", steps=10), alone.submit(**LONG)
    job = alone.until(killer, "failed")
    assert job["error"]["code"] == "worker_crashed"
    assert job["attempt"] == 2
    alone.until(innocent, "succeeded")


def test_killed_replicas_are_replaced_and_their_jobs_are_done(site: Site, alone: Server) -> None:
    if site.engine != "ray":
        pytest.skip("only a cluster has replicas")
    jobs = [alone.submit(**LONG, seed=n) for n in range(3)]
    for job_id in jobs:
        alone.begun(job_id)
    replicas = site.replicas()
    assert len(replicas) == 2
    for pid in replicas:
        os.kill(pid, signal.SIGKILL)
    attempts = [alone.until(job_id, "succeeded")["attempt"] for job_id in jobs]
    assert max(attempts) == 2  # the loss counts, though it is not the job's fault; on a slow machine one may be done
    assert all(ended_once(alone, job_id) for job_id in jobs)
    until(lambda: alone.client.get("/readyz?verbose").text.count("2 of 2 replicas"), "both replicas ready")


def test_the_jobs_of_a_killed_server_are_done_by_another(site: Site, home: Server) -> None:
    server = site.second()
    jobs = [site.run_at(server, home, **LONG, seed=n) for n in range(2)]
    server.kill()
    for job_id in jobs:
        assert home.until(job_id, "succeeded")["attempt"] == 2
        assert ended_once(home, job_id)


def test_a_server_that_was_away_for_longer_than_its_lease_writes_no_more(site: Site, home: Server) -> None:
    server = site.second()
    job_id = site.run_at(server, home, **LONG)
    with server.paused():
        job = home.until(job_id, "succeeded")
        assert job["attempt"] >= 2  # on a slow machine the second may lose its lease, too
    until(lambda: "lost its job" in server.log or "came too late" in server.log or "is lost" in server.log, "a word")
    assert home.job(job_id) == job == server.job(job_id)
    assert ended_once(home, job_id)
    server.until(server.submit(), "succeeded")  # it is as good as new


def test_a_draining_server_finishes_what_it_can_and_gives_back_the_rest(site: Site, home: Server) -> None:
    server = site.second()
    short = site.run_at(server, home, "slow.50", steps=40)
    long = site.run_at(server, home, "slow.50", steps=1000)
    server.process.send_signal(signal.SIGTERM)
    until(lambda: _draining(server), "readiness fails while the server still answers")
    assert server.process.wait(60) == 0
    assert home.until(short, "succeeded")["attempt"] == 1
    assert home.begun(long)["attempt"] == 1  # the interrupted attempt does not count
    assert home.client.post(f"/v1/jobs/{long}/cancel").status_code == 202
    home.until(long, "canceled")
    assert "requeued" in str(home.events(long))


def _draining(server: Server) -> bool:
    try:
        return server.client.get("/readyz").status_code == 503
    except httpx.TransportError:
        raise AssertionError("the server went without failing its readiness first") from None


def test_a_client_follows_a_job_that_another_server_runs(site: Site, home: Server) -> None:
    server = site.second()
    job_id = site.run_at(server, home, "slow.50", steps=60, previews=True, seed=9)
    kinds = Counter(kind for kind, _ in home.events(job_id))
    assert kinds["progress"] >= 3
    assert kinds["preview"] >= 1
    assert kinds["completed"] == 1
    other = site.run_at(server, home, "slow.50", steps=1000)
    assert home.client.post(f"/v1/jobs/{other}/cancel").status_code == 202
    home.until(other, "canceled")
    assert server.job(other)["state"] == "canceled"
