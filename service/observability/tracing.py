"""OpenTelemetry spans, where an exporter is set: one for each request, below it the job's queue, decode, steps, encode.

On with the standard variables OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT (OTLP over HTTP), which
need the extra `otel`; everything else (service name, sampler, headers) is said by the standard variables too. Without
them nothing of OpenTelemetry is imported. A client's `traceparent` is taken up. The link from a job to its request
lives in this process: after a restart a job's spans begin a trace of their own.
"""

from __future__ import annotations

import logging
import os
from collections import OrderedDict
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.jobs.model import Job

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

log = logging.getLogger(__name__)

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_MOST_JOBS = 10_000
"""Jobs whose request is remembered; more than may wait, run and be answered at the same time."""
_STAGES = (("decode", "decode"), ("restore", "steps"), ("encode", "encode"))


class Tracing:
    """Makes spans, or nothing at all.

    Args:
        provider: exports them; None to switch tracing off.
    """

    def __init__(self, provider: TracerProvider | None = None) -> None:
        self._provider = provider
        self._tracer: Any = provider.get_tracer("pellucid") if provider is not None else None
        self._requests: OrderedDict[str, Any] = OrderedDict()

    @property
    def on(self) -> bool:
        """Whether spans are made."""
        return self._tracer is not None

    def submitted(self, job_id: str) -> None:
        """A job was submitted by the request that is being served."""
        if self._tracer is None:
            return
        from opentelemetry import context

        self._requests[job_id] = context.get_current()
        if len(self._requests) > _MOST_JOBS:
            self._requests.popitem(last=False)

    def ended(self, job: Job, outcome: str, stages: Mapping[str, float]) -> None:
        """An attempt at a job has ended it.

        Args:
            job: as claimed.
            outcome: a `JobState`.
            stages: seconds by stage; they lie behind one another, the last ends now.
        """
        if self._tracer is None:
            return
        from opentelemetry.trace import Status, StatusCode

        parent = self._requests.pop(job.id, None)
        end = datetime.now(UTC)
        attributes = {"pellucid.job": job.id, "pellucid.task": job.spec.task, "pellucid.attempt": job.attempt}
        created, started = _nanoseconds(job.created_at), _nanoseconds(job.started_at or end)
        whole = self._span("job", created, _nanoseconds(end), parent, attributes | {"pellucid.outcome": outcome}, False)
        inside = _within(whole)
        self._span("queue", created, started, inside, attributes)
        stop = _nanoseconds(end)
        times = []
        for stage, name in reversed(_STAGES):
            if stage in stages:
                begin = max(started, stop - round(stages[stage] * 1e9))
                times.append((name, begin, stop))
                stop = begin
        for name, begin, stop in reversed(times):
            self._span(name, begin, stop, inside, attributes)
        if outcome == "failed":
            whole.set_status(Status(StatusCode.ERROR))
        whole.end(_nanoseconds(end))

    def _span(
        self, name: str, begin: int, end: int, parent: Any, attributes: Mapping[str, Any], close: bool = True
    ) -> Any:
        span = self._tracer.start_span(name, context=parent, start_time=begin, attributes=attributes)
        if close:
            span.end(end)
        return span

    def close(self) -> None:
        """Send what is left."""
        if self._provider is not None:
            self._provider.shutdown()

    def install(self, app: Starlette) -> None:
        """Make a span of each request of `app`; the layer that gives requests their ids is to be added afterwards."""
        if self._tracer is not None:
            app.add_middleware(_Requests, tracer=self._tracer)


class _Requests:
    """One span a request, named by the route's template, continuing the client's trace."""

    def __init__(self, app: ASGIApp, tracer: Any) -> None:
        self._app, self._tracer = app, tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        parent = TraceContextTextMapPropagator().extract(dict(Headers(scope=scope)))
        attributes = {
            "http.request.method": scope["method"],
            "url.path": scope["path"],
            "pellucid.request_id": str(scope.get("state", {}).get("request_id", "")),
        }
        with self._tracer.start_as_current_span(
            scope["method"], context=parent, kind=SpanKind.SERVER, attributes=attributes
        ) as span:

            async def send_noted(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set_attribute("http.response.status_code", message["status"])
                await send(message)

            try:
                await self._app(scope, receive, send_noted)
            finally:
                route = getattr(scope.get("route"), "path", None)
                if route:
                    span.set_attribute("http.route", route)
                    span.update_name(f"{scope['method']} {route}")


def create_tracing(offline: bool = False) -> Tracing:
    """Tracing as the environment wants it.

    Args:
        offline: no outside connection is opened, so no spans are sent.

    Raises:
        ImportError: an exporter is set, but the extra `otel` is not installed.
    """
    if not any(os.environ.get(name) for name in ENDPOINTS):
        return Tracing()
    if offline:
        log.warning("tracing is off: the server works offline")
        return Tracing()
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise ImportError(f"{ENDPOINTS[0]} is set, which needs the extra: pip install 'pellucid[otel]'") from error
    named = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": "pellucid"}
    provider = TracerProvider(resource=Resource.create(named))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracing(provider)


def _within(span: Any) -> Any:
    from opentelemetry.trace import set_span_in_context

    return set_span_in_context(span)


def _nanoseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1e9)
