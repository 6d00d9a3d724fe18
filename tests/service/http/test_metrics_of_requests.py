"""What GET /metrics tells after real work: every metric of the contract by name, routes as templates."""

from __future__ import annotations

import time

from prometheus_client.parser import text_string_to_metric_families

NAMES = {
    "pellucid_requests_total", "pellucid_jobs_total", "pellucid_queue_depth", "pellucid_queue_wait_seconds_count",
    "pellucid_stage_seconds_count", "pellucid_batch_size_count", "pellucid_denoiser_calls_total",
    "pellucid_step_seconds_count", "pellucid_oom_total", "pellucid_worker_restarts_total",
}  # fmt: skip


def test_every_metric_of_the_contract_moves_with_the_work(serve, picture):
    with serve() as server:
        server.client.post("/v1/denoise?noise=20&steps=3&fidelity=0", content=picture())
        server.client.get("/v1/jobs/0192f0c1-3a58-7cc1-8f0d-3d1c1c9a1b2e/result")
        server.client.get("/nothing/at/all")
        values: dict[str, float] = {}
        for _ in range(300):
            text = server.client.get("/metrics").text
            values = {
                s.name + "".join(f" {k}={v}" for k, v in sorted(s.labels.items()) if k != "le"): s.value
                for family in text_string_to_metric_families(text)
                for s in family.samples
            }
            if values["pellucid_denoiser_calls_total"]:  # workers report once a second
                break
        assert {name.split(" ")[0] for name in values} >= NAMES
        assert values["pellucid_requests_total code=200 route=/v1/denoise"] == 1
        assert values["pellucid_requests_total code=404 route=/v1/jobs/{job_id}/result"] == 1
        assert values["pellucid_requests_total code=404 route=unmatched"] == 1
        assert values["pellucid_jobs_total outcome=succeeded task=denoise"] == 1
        assert values["pellucid_problems_total code=not_found"] == 2
        assert values["pellucid_denoiser_calls_total"] >= 3
        assert values["pellucid_stage_seconds_count stage=decode"] == 1
        assert values["pellucid_worker_up device=cpu"] == 1


def test_restarts_of_workers_are_counted_once(serve):
    with serve() as server:
        server.engine.restarts = 2
        deadline = time.monotonic() + 20
        while "pellucid_worker_restarts_total 2.0" not in server.client.get("/metrics").text:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(1.1)  # the server looks every second
        assert "pellucid_worker_restarts_total 2.0" in server.client.get("/metrics").text


def test_metrics_can_be_switched_off(serve):
    with serve(metrics=False) as server:
        assert server.client.get("/metrics").status_code == 404
