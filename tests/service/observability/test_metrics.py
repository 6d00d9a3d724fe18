"""Metrics: the names of the contract, bounded labels, reports of workers."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.routing import Route

from service.observability.metrics import Metrics

CONTRACT = {
    "pellucid_requests_total": {"route", "code"},
    "pellucid_jobs_total": {"task", "outcome"},
    "pellucid_queue_depth": {"priority"},
    "pellucid_queue_wait_seconds_bucket": {"le"},
    "pellucid_stage_seconds_bucket": {"stage", "le"},
    "pellucid_batch_size_bucket": {"le"},
    "pellucid_denoiser_calls_total": set(),
    "pellucid_step_seconds_bucket": {"prior", "runtime", "le"},
    "pellucid_oom_total": {"recovered"},
    "pellucid_worker_restarts_total": set(),
    "pellucid_device_memory_bytes": {"device"},
    "process_resident_memory_bytes": set(),
}


def filled() -> Metrics:
    metrics = Metrics()
    metrics.request("/restore", 200)
    metrics.job_ended("denoise", "succeeded", {"queue": 0.1, "decode": 0.01, "restore": 1.0, "encode": 0.02, "nfe": 8})
    metrics.queued({"interactive": 3})
    metrics.absorb(
        {"batches": [[4, 0.2, "photo", "torch"], [8, 0.3, "photo", "torch"]], "oom": {"recovered": 2},
         "memory": {"cuda:0": 1234}}
    )  # fmt: skip
    metrics.workers([("cpu", True)])
    return metrics


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = metrics.exposition()[0].decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.mark.parametrize("name", CONTRACT)
def test_metric_of_the_contract_is_there_with_its_labels(name):
    labels = [{k for k, _ in found} for sample, found in samples(filled()) if sample == name]
    assert labels and all(found == CONTRACT[name] for found in labels)


def test_report_of_a_worker_is_counted():
    found = samples(filled())
    assert found["pellucid_denoiser_calls_total", ()] == 2
    assert found["pellucid_batch_size_sum", ()] == 12
    assert found["pellucid_step_seconds_sum", (("prior", "photo"), ("runtime", "torch"))] == 0.5
    assert found["pellucid_oom_total", (("recovered", "true"),)] == 2
    assert found["pellucid_device_memory_bytes", (("device", "cuda:0"),)] == 1234
    assert found["pellucid_queue_depth", (("priority", "interactive"),)] == 3


def test_label_values_are_bounded():
    metrics = Metrics()
    for i in range(1000):
        metrics.request(f"/{i}", 404)
    routes = [labels for name, labels in samples(metrics) if name == "pellucid_requests_total"]
    assert len(routes) == 65 and (("code", "404"), ("route", "other")) in routes


def test_two_servers_in_a_process_do_not_share():
    filled()
    assert samples(Metrics())["pellucid_denoiser_calls_total", ()] == 0


@pytest.mark.parametrize("accept", ["", "text/plain", "application/openmetrics-text; version=1.0.0"])
def test_application_answers_in_the_format_asked_for(accept):
    async def get() -> httpx.Response:
        transport = httpx.ASGITransport(Starlette(routes=[Route("/metrics", filled().answer)]))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.get("/metrics", headers={"Accept": accept})

    answer = asyncio.run(get())
    assert answer.status_code == 200 and "pellucid_requests_total" in answer.text
    assert answer.headers["content-type"].startswith(accept.split(";")[0] or "text/plain")
