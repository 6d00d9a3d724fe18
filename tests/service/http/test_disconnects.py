"""R15: a synchronous client that hangs up frees its slot within one step; an asynchronous one cancels nothing."""

from __future__ import annotations

import socket
import time

import pytest

SLOW = {"prior": "slow:seconds=0.1", "jobs_at_once": 1}
STEPS = 200


def until(condition, seconds=30.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def posting(server, data, headers="", seed=0):
    """A connection on which a long restoration was asked for."""
    host, _, port = server.url.removeprefix("http://").partition(":")
    connection = socket.create_connection((host, int(port)), timeout=30)
    connection.sendall(
        f"POST /v1/denoise?fidelity=0&steps={STEPS}&seed={seed} HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}"
        f"Content-Length: {len(data)}\r\n\r\n".encode()
        + data
    )
    return connection


def state(server, state):
    return server.client.get("/v1/jobs", params={"state": state}).json()["data"]


@pytest.mark.parametrize("accept", ["image/png", "application/json", "text/event-stream"])
def test_hanging_up_cancels_within_one_step_and_the_next_one_runs(serve, picture, accept):
    with serve(**SLOW) as server:
        connection = posting(server, picture(), f"Accept: {accept}\r\n")
        until(lambda: server.engine.steps >= 3)
        waiting = server.submit(picture(), noise=20)
        steps = server.engine.steps
        connection.close()
        until(lambda: {job["id"] for job in state(server, "running")} <= {waiting})
        # The step that was being computed, and one more that had begun before the server heard of it.
        taken = server.engine.steps - steps
        assert server.ended(waiting)["state"] == "succeeded"
        assert taken <= 2 + 1  # the waiting job's own single step
        (canceled,) = state(server, "canceled")
        assert canceled["id"] != waiting


def test_a_queued_job_is_canceled_when_its_client_hangs_up(serve, picture):
    with serve(**SLOW) as server:
        blocker = server.submit(picture(), steps=STEPS, fidelity=0)
        until(lambda: server.engine.steps >= 1)
        connection = posting(server, picture(), seed=1)
        until(lambda: state(server, "queued"))
        connection.close()
        until(lambda: state(server, "canceled"))
        assert [job["id"] for job in state(server, "running")] == [blocker]
        server.client.post(f"/v1/jobs/{blocker}/cancel")


def test_an_asynchronous_client_may_leave(serve, picture):
    with serve(**SLOW) as server:
        connection = posting(server, picture(), "Prefer: respond-async\r\n")
        assert connection.recv(12) == b"HTTP/1.1 202"
        connection.close()
        steps = server.engine.steps
        until(lambda: server.engine.steps > steps + 4)
        (job,) = state(server, "running")
        # Nor does whoever only looks on.
        with server.client.stream("GET", f"/v1/jobs/{job['id']}/events") as stream:
            next(stream.iter_lines())
        steps = server.engine.steps
        until(lambda: server.engine.steps > steps + 4)
        assert state(server, "running")
        server.client.post(f"/v1/jobs/{job['id']}/cancel")


def test_a_job_that_two_clients_wait_for_ends_with_the_second(serve, picture):
    with serve(**SLOW) as server:
        first, second = (posting(server, picture(), "Idempotency-Key: shared\r\n") for _ in range(2))
        until(lambda: server.engine.steps >= 3)
        first.close()
        steps = server.engine.steps
        until(lambda: server.engine.steps > steps + 4)
        assert len(state(server, "running")) == 1
        second.close()
        until(lambda: state(server, "canceled"))
