"""R4: SIGTERM under load: readiness fails first, what was accepted is finished or queued again, nothing is reset."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.service.faults.conftest import Start
from tests.service.faults.processes import Server, ask, children, ended, job, picture, result

#: Ways to ask, each in two threads.
WAYS = ("sync", "kept connection", "async", "events", "poll")


class Clients:
    """Asks a server in many ways at once until it listens no more; remembers every answer and every trouble."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.accepted: set[str] = set()
        self.finished: dict[str, bytes] = {}
        self.refused: list[float] = []
        self.draining: list[float] = []
        self.troubles: list[str] = []
        self.statuses: set[tuple[str, int]] = set()
        self._threads = [threading.Thread(target=self._go, args=(way,)) for way in WAYS * 2]
        self._threads.append(threading.Thread(target=self._look))

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(90)
            assert not thread.is_alive()

    def _until_refused(self, way: str, ask: Callable[[httpx.Client], None]) -> None:
        client = self.server.client()
        try:
            while True:
                if way != "kept connection":
                    client.close()
                    client = self.server.client()
                ask(client)
        except httpx.ConnectError as error:
            self.refused.append(time.monotonic())
            if "refused" not in str(error):
                self.troubles.append(f"{way}: {error!r}")
        except httpx.TransportError as error:
            self.troubles.append(f"{way}: {error!r}")
        finally:
            client.close()

    def _look(self) -> None:
        def look(client: httpx.Client) -> None:
            if client.get("/readyz").status_code == 503:
                self.draining.append(time.monotonic())
            time.sleep(0.02)

        self._until_refused("readiness", look)

    def _go(self, way: str) -> None:
        def once(client: httpx.Client) -> None:
            answer = getattr(self, f"_{way.partition(' ')[0]}")(client)
            self.statuses.add((way, answer.status_code))
            if answer.status_code == 503:
                assert answer.json()["code"] == "draining" and "Retry-After" in answer.headers
                time.sleep(0.05)
            elif answer.status_code == 202:
                time.sleep(0.5)  # no more than the server can do

        self._until_refused(way, once)

    def _restore(self, client: httpx.Client, **headers: str) -> httpx.Response:
        answer = ask(client, picture(), headers, prior="slow-seconds_0.02")
        if "Pellucid-Job" in answer.headers:
            self.accepted.add(answer.headers["Pellucid-Job"])
        if answer.status_code == 200 and answer.headers["content-type"] == "image/png":
            self.finished[answer.headers["Pellucid-Job"]] = answer.content
        return answer

    def _sync(self, client: httpx.Client) -> httpx.Response:
        return self._restore(client)

    def _kept(self, client: httpx.Client) -> httpx.Response:
        return self._restore(client)

    def _async(self, client: httpx.Client) -> httpx.Response:
        return self._restore(client, Prefer="respond-async")

    def _events(self, client: httpx.Client) -> httpx.Response:
        return self._restore(client, Accept="text/event-stream")

    def _poll(self, client: httpx.Client) -> httpx.Response:
        answer = self._restore(client, Prefer="respond-async")
        if answer.status_code == 202:
            job_id = answer.headers["Pellucid-Job"]
            answer = client.get(f"/v1/jobs/{job_id}", headers={"Prefer": "wait=20"})
        return answer


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "everyone"), [("pellucid", False), ("pellucid", True), ("uvicorn", False)], ids=str
)
def test_under_load_nobody_is_cut_off(start: Start, command: str, everyone: bool) -> None:
    server = start(command=command, jobs_at_once=4, drain_seconds=30)
    assert server.process is not None
    family = children(server.process.pid, "service.")
    clients = Clients(server)
    clients.start()
    server.until(lambda: len(clients.finished) > 10)
    server.signal()
    for pid in family if everyone else ():  # a service manager signals every process of the service
        os.kill(pid, signal.SIGTERM)
    assert server.wait() == (0 if command == "pellucid" else -signal.SIGTERM)
    clients.join()
    assert clients.troubles == []
    assert clients.draining and clients.draining[0] < min(clients.refused), "readiness fails before the socket closes"
    assert {status for _, status in clients.statuses} <= {200, 202, 503}
    assert ("sync", 200) in clients.statuses and ("sync", 503) in clients.statuses
    server.start()
    with server.client() as client:
        expected = ask(client, picture(), prior="cheap").content
        for job_id in clients.accepted:
            assert ended(client, job_id)["state"] == "succeeded"
            assert result(client, job_id) == clients.finished.get(job_id, expected) == expected


def long_job(server: Server, steps: int) -> tuple[threading.Thread, list[httpx.Response]]:
    """A caller who waits for a job of so many twentieths of a second."""
    answers: list[httpx.Response] = []

    def wait() -> None:
        with server.client() as client:
            answers.append(ask(client, picture(), prior="slow-seconds_0.05", steps=steps))

    caller = threading.Thread(target=wait)
    caller.start()
    with server.client() as client:

        def begun() -> bool:
            found: list[dict[str, Any]] = client.get("/v1/jobs").json()["data"]
            return any(j["progress"]["step"] for j in found)

        server.until(begun)
    return caller, answers


@pytest.mark.slow
def test_what_is_not_finished_by_the_deadline_is_queued_again(start: Start) -> None:
    server = start(drain_seconds=1)
    caller, answers = long_job(server, 200)
    server.signal()
    assert server.wait() == 0
    caller.join()
    (answer,) = answers
    assert answer.status_code == 202 and answer.json()["state"] == "queued"
    job_id = answer.headers["Pellucid-Job"]
    assert answer.headers["Location"] == f"/v1/jobs/{job_id}"
    server.start()
    with server.client() as client:
        done = ended(client, job_id)
        assert (done["state"], done["attempt"]) == ("succeeded", 1)
        assert result(client, job_id) == ask(client, picture(), prior="cheap", steps=200).content


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_waits_for_nothing(start: Start, number: int) -> None:
    server = start(drain_seconds=300)
    caller, answers = long_job(server, 1000)
    server.signal(number)
    server.until(lambda: server.status("/readyz") == 503)
    with server.client() as client:
        (found,) = client.get("/v1/jobs").json()["data"]
        assert found["state"] == "running", "the first signal lets it go on"
    server.signal(number)
    assert server.wait(30) == 0
    caller.join()
    (answer,) = answers
    assert answer.status_code == 202 and answer.json()["state"] == "queued"
    server.start()
    with server.client() as client:
        assert job(client, found["id"])["state"] in ("queued", "running")
        assert client.post(f"/v1/jobs/{found['id']}/cancel").status_code == 202
        assert ended(client, found["id"])["state"] == "canceled"
