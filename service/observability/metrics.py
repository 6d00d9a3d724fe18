"""The server's metrics, for Prometheus: one registry of its own, every label value from a bounded set.

One process, the server, is scraped. Workers report what they did as JSON over their own channel, and the engine hands
each report to `absorb`: no shared files and no multi-process mode.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder
from starlette.requests import Request
from starlette.responses import Response

_OTHER = "other"
_MOST_VALUES = 64
"""Distinct values a label may take before the rest become "other": above every list of routes, tasks or priors we have,
and small enough that a scrape stays in the tens of kilobytes."""

# Queueing and restoring take from a millisecond (a thumbnail) to ten minutes (`sync_seconds`): steps of about 2 to 2.5.
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60, 120, 300, 600)
# One denoiser call: 0.2 ms (a tile on a large GPU) to a minute (a large tile on one core).
_STEP_SECONDS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 60)
_BATCHES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 128, 256)  # up to the largest `max_batch`


class Metrics:
    """Every collector, under the names of the contract.

    Attributes:
        registry: the collectors' own; nothing is registered globally, so a process may hold several servers.
    """

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry(auto_describe=True)
        ProcessCollector(registry=registry)
        self.requests = Counter("pellucid_requests", "Answered requests", ["route", "code"], registry=registry)
        self.problems = Counter("pellucid_problems", "Requests refused or failed", ["code"], registry=registry)
        self.jobs = Counter("pellucid_jobs", "Jobs ended", ["task", "outcome"], registry=registry)
        self.queue_depth = Gauge("pellucid_queue_depth", "Jobs waiting", ["priority"], registry=registry)
        self.queue_wait = Histogram(
            "pellucid_queue_wait_seconds", "Wait before a job's start", buckets=_SECONDS, registry=registry
        )
        self.stages = Histogram(
            "pellucid_stage_seconds", "Time in one stage of a job", ["stage"], buckets=_SECONDS, registry=registry
        )
        self.batch_size = Histogram(
            "pellucid_batch_size", "Tiles in one denoiser call", buckets=_BATCHES, registry=registry
        )
        self.denoiser_calls = Counter("pellucid_denoiser_calls", "Denoiser calls, batched", registry=registry)
        self.steps = Histogram(
            "pellucid_step_seconds",
            "Time of one denoiser call",
            ["prior", "runtime"],
            buckets=_STEP_SECONDS,
            registry=registry,
        )
        self.oom = Counter("pellucid_oom", "Times a device ran out of memory", ["recovered"], registry=registry)
        self.restarts = Counter("pellucid_worker_restarts", "Workers started again", registry=registry)
        self.worker_up = Gauge("pellucid_worker_up", "Whether a worker is ready", ["device"], registry=registry)
        self.device_memory = Gauge(
            "pellucid_device_memory_bytes", "Memory in use on a device", ["device"], registry=registry
        )
        self._seen: dict[tuple[str, str], set[str]] = {}

    def request(self, route: str, code: int) -> None:
        """A request was answered: `route` is the template ("/v1/jobs/{id}"), never the path; `code` the status."""
        self.requests.labels(self._bound("requests", "route", route), str(code)).inc()

    def problem(self, code: str) -> None:
        """A request was refused or failed with one of `service.problems.Code`."""
        self.problems.labels(self._bound("problems", "code", code)).inc()

    def job_ended(self, task: str, outcome: str, stages: Mapping[str, float]) -> None:
        """A job has ended.

        Args:
            task: of the job.
            outcome: a `JobState`.
            stages: seconds by stage ("queue", "decode", "restore", "encode"), as `Job.metrics`; other keys are left.
        """
        self.jobs.labels(self._bound("jobs", "task", task), self._bound("jobs", "outcome", outcome)).inc()
        for stage in ("decode", "restore", "encode"):
            if stage in stages:
                self.stages.labels(stage).observe(stages[stage])
        if "queue" in stages:
            self.queue_wait.observe(stages["queue"])

    def queued(self, depth: Mapping[str, int]) -> None:
        """Jobs waiting now, by priority (`JobStore.queued`)."""
        for priority in ("interactive", "batch"):
            self.queue_depth.labels(priority).set(depth.get(priority, 0))

    def absorb(self, report: Mapping[str, Any]) -> None:
        """Add what a worker did since its last report.

        Args:
            report: JSON-ready, each key optional: "batches", [[tiles, seconds, prior, runtime], ...], one entry a
                denoiser call; "oom", {"recovered": n, "failed": n}; "memory", {device: bytes in use}.
        """
        for tiles, seconds, prior, runtime in report.get("batches", ()):
            self.denoiser_calls.inc()
            self.batch_size.observe(tiles)
            self.steps.labels(self._bound("steps", "prior", prior), self._bound("steps", "runtime", runtime)).observe(
                seconds
            )
        for key, recovered in (("recovered", "true"), ("failed", "false")):
            self.oom.labels(recovered).inc(report.get("oom", {}).get(key, 0))
        for device, size in report.get("memory", {}).items():
            self.device_memory.labels(self._bound("memory", "device", device)).set(size)

    def workers(self, ready: Iterable[tuple[str, bool]]) -> None:
        """(device, whether its worker is ready) of every worker."""
        for device, up in ready:
            self.worker_up.labels(self._bound("workers", "device", device)).set(up)

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """The current values and their content type, in the format that an Accept header asks for."""
        encode, media_type = choose_encoder(accept)
        return encode(self.registry), media_type

    async def answer(self, request: Request) -> Response:
        """GET /metrics."""
        body, media_type = self.exposition(request.headers.get("accept", ""))
        return Response(body, headers={"Content-Type": media_type, "Cache-Control": "no-store"})

    def _bound(self, metric: str, label: str, value: str) -> str:
        seen = self._seen.setdefault((metric, label), set())
        if value not in seen:
            if len(seen) >= _MOST_VALUES:
                return _OTHER
            seen.add(value)
        return value
