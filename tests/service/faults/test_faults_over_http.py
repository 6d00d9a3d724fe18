"""R12 and the kinds of faults, as a client of a real server sees them."""

from __future__ import annotations

import threading

import httpx
import pytest

from tests.service.faults.processes import Server, ask, ended, metric, picture, result, submit


@pytest.fixture
def client(shared: Server):
    with shared.client() as client:
        yield client


@pytest.mark.parametrize("call", [1, 4, 8])
def test_out_of_memory_gives_the_result_of_smaller_tiles_and_says_so(client: httpx.Client, call: int) -> None:
    data = picture(70, 60)
    whole, expected = (ask(client, data, prior=f"cheap-tile_{tile}").content for tile in (128, 64))
    answer = ask(client, data, prior=f"oom-side_64-from_{call}")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert answer.content == expected != whole
    told = "batch=1;reason=oom, tile=64;reason=oom"  # first one tile at a time instead of two, then smaller ones
    assert answer.headers["Pellucid-Degraded"] == told
    job = client.get(f"/v1/jobs/{answer.headers['Pellucid-Job']}").json()
    assert job["degraded"] == told
    assert [w["code"] for w in job["warnings"]] == ["out_of_memory"] * 2
    report = client.get(f"/v1/jobs/{job['id']}/report").json()
    assert report["degraded"] == told


def test_nothing_is_called_degraded_that_is_not(client: httpx.Client) -> None:
    answer = ask(client, picture(), prior="cheap")
    assert answer.status_code == 200 and "Pellucid-Degraded" not in answer.headers


def test_too_little_memory_for_any_tile_is_an_error(client: httpx.Client) -> None:
    answer = ask(client, picture(), prior="oom-side_1")
    assert (answer.status_code, answer.json()["code"]) == (500, "out_of_memory")


def test_garbage_is_computed_again_in_float32_and_never_sent(client: httpx.Client) -> None:
    expected = ask(client, picture(), prior="cheap").content
    once = ask(client, picture(), prior="nan-at_3")
    assert (once.status_code, once.content) == (200, expected)
    assert once.headers["Pellucid-Degraded"] == "precision=float32;reason=nan"
    always = ask(client, picture(), prior="nan")
    assert (always.status_code, always.json()["code"]) == (500, "numerical")
    assert always.headers["content-type"].startswith("application/problem+json")


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["fatal-once_1", "crash-once_2", "hang-once_3"])
def test_a_lost_worker_is_replaced_and_the_job_done_again(shared: Server, client: httpx.Client, fault: str) -> None:
    """A poisoned device, a killed process, one that hangs: readiness fails, a new process does both jobs."""
    shared.until(shared.ready)
    seen, stop = set(), threading.Event()

    def look() -> None:
        while not stop.wait(0.02):
            seen.add(shared.status("/readyz"))

    looking = threading.Thread(target=look)
    looking.start()
    restarts, worker = metric(client, "pellucid_worker_restarts_total"), shared.worker()
    other = submit(client, picture(seed=1), prior="slow-seconds_0.05", steps=60)
    answer = ask(client, picture(), prior=f"{fault}-from_2")
    job = ended(client, answer.headers["Pellucid-Job"])
    bystander = ended(client, other)
    stop.set()
    looking.join()
    assert answer.status_code == 200, answer.text
    assert answer.content == ask(client, picture(), prior="cheap").content
    assert job["attempt"] == 2, "the attempt that lost the worker counts"
    assert (bystander["state"], bystander["attempt"]) == ("succeeded", 1), "another's fault does not count"
    assert result(client, other) == ask(client, picture(seed=1), prior="cheap", steps=60).content
    assert shared.worker() != worker and seen == {200, 503}
    shared.until(lambda: metric(client, "pellucid_worker_restarts_total") == restarts + 1)


@pytest.mark.slow
def test_a_job_that_kills_its_worker_twice_is_not_tried_again(shared: Server, client: httpx.Client) -> None:
    shared.until(shared.ready)
    other = submit(client, picture(seed=1), prior="slow-seconds_0.05", steps=60)
    answer = ask(client, picture(), prior="crash-from_3")
    assert (answer.status_code, answer.json()["code"]) == (500, "worker_crashed")
    assert ended(client, other)["state"] == "succeeded"
    shared.until(shared.ready)
    assert ask(client, picture(), prior="cheap").status_code == 200
