"""OpenTelemetry: one trace from the client to the stages of its job; nothing without an exporter."""

from __future__ import annotations

import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from service.observability.tracing import ENDPOINTS, Tracing, create_tracing
from tests.service.http import conftest as http

serve, picture = http.serve, http.picture
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def spans():
    """(tracing, exporter that keeps what it gets)"""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Tracing(provider), exporter


def test_a_job_continues_the_clients_trace(serve, picture, spans):
    tracing, exporter = spans
    with serve(tracing=tracing) as server:
        headers = {"traceparent": f"00-{TRACE}-{SPAN}-01", "X-Request-Id": "abc"}
        answer = server.client.post("/v1/denoise?noise=20", content=picture(), headers=headers)
        job_id = answer.headers["pellucid-job"]
        server.client.get(f"/v1/jobs/{job_id}")
    found = {span.name: span for span in exporter.get_finished_spans() if span.context.trace_id == int(TRACE, 16)}
    assert set(found) == {"POST /v1/denoise", "job", "queue", "decode", "steps", "encode"}
    request, job = found["POST /v1/denoise"], found["job"]
    assert request.parent.span_id == int(SPAN, 16)
    assert request.attributes["http.response.status_code"] == 200
    assert request.attributes["pellucid.request_id"] == "abc"
    assert job.parent.span_id == request.context.span_id
    assert job.attributes["pellucid.job"] == job_id
    assert job.attributes["pellucid.outcome"] == "succeeded"
    stages = [found[name] for name in ("queue", "decode", "steps", "encode")]
    assert {span.parent.span_id for span in stages} == {job.context.span_id}
    for span in stages:
        assert job.start_time <= span.start_time <= span.end_time <= job.end_time
    assert [span.start_time for span in stages] == sorted(span.start_time for span in stages)
    other = next(s for s in exporter.get_finished_spans() if s.name == "GET /v1/jobs/{job_id}")
    assert other.context.trace_id != int(TRACE, 16)


def test_a_failed_job_is_an_error(serve, picture, spans):
    tracing, exporter = spans
    with serve(tracing=tracing, prior="wrong") as server:
        assert server.client.post("/v1/denoise", content=picture()).status_code == 500
    (job,) = (span for span in exporter.get_finished_spans() if span.name == "job")
    assert not job.status.is_ok


def test_nothing_is_imported_without_an_exporter():
    code = "import sys; from service.observability.tracing import create_tracing; assert not create_tracing().on; " \
           "assert not [name for name in sys.modules if name.startswith('opentelemetry')]"  # fmt: skip
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})


@pytest.mark.parametrize("name", ENDPOINTS)
def test_spans_are_sent_to_the_exporter_of_the_environment_unless_offline(monkeypatch, name):
    got: list[tuple[str, int]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append((self.path, len(self.rfile.read(int(self.headers["Content-Length"])))))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Collector) as collector:
        thread = threading.Thread(target=collector.serve_forever)
        thread.start()
        path = "/v1/traces" if name == ENDPOINTS[1] else ""
        monkeypatch.setenv(name, f"http://127.0.0.1:{collector.server_port}{path}")
        assert not create_tracing(offline=True).on
        tracing = create_tracing()
        assert tracing.on
        tracing._tracer.start_span("a").end()
        tracing.close()
        collector.shutdown()
        thread.join()
    assert [path for path, _ in got] == ["/v1/traces"]
