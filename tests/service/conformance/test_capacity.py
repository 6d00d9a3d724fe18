"""A full cluster's server answers 503 and loses nothing; a deployment may grow, and may be somebody else's."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.service.conformance.conftest import ray_cluster
from tests.service.conformance.site import Server, Site, environment, picture, until
from tests.service.servers import Bucket

pytestmark = pytest.mark.slow

#: Seconds of work.
LONG: dict[str, Any] = {"prior": "slow.30", "steps": 60}


def post(server: Server, seed: int) -> Any:
    """The answer to a new job."""
    return server.client.post(
        "/v1/super-resolve", params={"scale": 2, "noise": 10, "seed": seed, **LONG}, content=picture(),
        headers={"Content-Type": "image/png", "Prefer": "respond-async"},
    )  # fmt: skip


def test_a_full_cluster_s_server_answers_503_and_finishes_what_it_accepted(site: Site, alone: Server) -> None:
    if site.engine != "ray":
        pytest.skip("of a cluster")
    server = site.start(PELLUCID_MAX_QUEUE="2")
    with alone.paused():
        answers = [post(server, seed) for seed in range(12)]
        refused = [answer for answer in answers if answer.status_code != 202]
        jobs = [answer.json()["id"] for answer in answers if answer.status_code == 202]
        assert len(jobs) >= 2 + 2 * 2  # two wait, two replicas take two each
        assert refused
        for answer in refused:
            assert answer.status_code == 503, answer.text
            assert answer.json()["code"] == "saturated"
            assert int(answer.headers["Retry-After"]) >= 1
        for job_id in jobs:
            server.until(job_id, "succeeded")
    server.stop()


@pytest.mark.seldom
def test_a_deployment_grows_under_load(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    settings = {
        "PELLUCID_ENGINE": "ray",
        "PELLUCID_DEVICES": "cpu",
        "PELLUCID_RAY_REPLICAS": "1",
        "PELLUCID_RAY_MAX_REPLICAS": "2",
        "PELLUCID_RAY_CPUS": "0.5",
        "PELLUCID_JOBS_AT_ONCE": "2",
        "PELLUCID_REQUESTS_PER_MINUTE": "1000000",
        "PELLUCID_LOG_FORMAT": "text",
    }
    site = Site("ray", tmp_path, settings)
    try:
        server = site.start()
        assert "1 of 1 replicas" in server.client.get("/readyz?verbose").text
        jobs: list[str] = []

        def grown() -> bool:
            waiting = [job_id for job_id in jobs[-4:] if server.job(job_id)["state"] == "queued"]
            if len(waiting) < 2:
                jobs.append(server.submit("slow.100", steps=20, seed=len(jobs)))
            return "2 of 2 replicas" in server.client.get("/readyz?verbose").text

        until(grown, "a second replica")
        for job_id in jobs:
            server.until(job_id, "succeeded")
    finally:
        site.stop()


def test_workers_that_a_rayservice_deploys_are_waited_for_and_used(tmp_path: Path, bucket: Bucket) -> None:
    shared = {"blob_url": bucket.url, "devices": "cpu", "jobs_at_once": 2, "ray_cpus": 0.5, "log_format": "text"}
    with ray_cluster(tmp_path, bucket) as (address, _):
        settings = {f"PELLUCID_{name.upper()}": str(value) for name, value in shared.items()} | {
            "PELLUCID_ENGINE": "ray",
            "PELLUCID_RAY_ADDRESS": address,
            "PELLUCID_RAY_DEPLOYS": "off",
            **bucket.environment,
        }
        site = Site("ray", tmp_path, settings)
        try:
            server = site.start(ready=False)
            until(lambda: "is not on the cluster" in server.log, "that it waits")
            unready = server.client.get("/readyz?verbose")
            assert unready.status_code == 503
            assert "is not on the cluster" in unready.text
            assert post(server, 0).json()["code"] == "starting"
            command = [sys.executable, "-m", "tests.service.conformance.deploying", address, json.dumps(shared)]
            subprocess.run(command, check=True, env=environment(**bucket.environment), capture_output=True)
            until(lambda: server.client.get("/readyz").status_code == 200, "readiness")
            server.until(server.submit(), "succeeded")
        finally:
            site.stop()
