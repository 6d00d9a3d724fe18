"""R14 through HTTP: a queued job is canceled at once, a running one within one step."""

from __future__ import annotations

import time

import pytest

from tests.service.faults.conftest import Start
from tests.service.faults.processes import ask, ended, events, job, metric, picture, submit

CALLS = "pellucid_denoiser_calls_total"


@pytest.mark.slow
def test_canceling(start: Start) -> None:
    server = start(jobs_at_once=1, max_batch=1)
    with server.client() as client:
        running = submit(client, picture(), prior="slow-seconds_0.2", steps=500)
        queued = submit(client, picture(), prior="slow-seconds_0.2", steps=500)
        server.until(lambda: job(client, running)["progress"]["step"] >= 2)
        # Nobody has to do anything for a queued job to end: the answer to the request says that it has.
        answer = client.post(f"/v1/jobs/{queued}/cancel")
        assert (answer.status_code, answer.json()["state"]) == (202, "canceled")
        assert [kind for _, kind in events(client, queued)] == ["queued", "completed"]
        assert client.post(f"/v1/jobs/{queued}/cancel").status_code == 409
        assert client.post(f"/v1/jobs/{running}/cancel").status_code == 202
        assert ended(client, running)["state"] == "canceled"
        # The slot is free, and the device does nothing more: the worker's own tests count the calls to the last one.
        assert ask(client, picture(), prior="cheap", steps=8).status_code == 200
        time.sleep(1.5)  # the next report of what was counted
        before = metric(client, CALLS)
        assert ask(client, picture(), prior="cheap", steps=8).status_code == 200
        server.until(lambda: metric(client, CALLS) >= before + 8)
        assert metric(client, CALLS) == before + 8, "nothing goes on behind"
