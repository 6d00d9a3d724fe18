from __future__ import annotations

import time
from pathlib import Path

import pellucid_client as pellucid
import pytest
from pellucid_client import _policy as policies

from tests.client.conftest import Api, size
from tests.client.proxy import Fault, Proxy


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policies, "FIRST_DELAY", 0.05)


def test_submit_returns_at_once_and_result_waits(api: Api, picture: Path) -> None:
    job = api.run(api.client.submit(picture, "denoise", steps=100, fidelity=0, seed=4))
    assert not job.info.ended and job.info.task == "denoise"
    image = api.run(job.result(timeout=30))
    assert size(image) == (40, 32) and image.job_id == job.id
    assert api.run(job.refresh()).state == "succeeded"
    assert api.run(job.report()).parameters["seed"] == 4


def test_events_tell_everything_once_and_in_order(api: Api, picture: Path) -> None:
    job = api.run(api.client.submit(picture, "denoise", steps=5, fidelity=0))
    events = api.all(job.events())
    assert [event.id for event in events] == list(range(1, 9))
    assert [event.type for event in events] == ["queued", "started", *["progress"] * 5, "completed"]
    assert events[-1].job.state == "succeeded"
    assert isinstance(events[0], pellucid.QueuedEvent) and isinstance(events[1], pellucid.StartedEvent)


@pytest.mark.parametrize("cuts", [[1], [3, 2], [1, 1, 1, 1, 1, 1]])
def test_events_go_on_where_the_connection_broke(api: Api, proxy: Proxy, picture: Path, cuts: list[int]) -> None:
    # The stream begins with how long to wait before coming back, which counts as one of its blocks.
    proxy.faults.extend(Fault("cut", "/events", size=size + 1) for size in cuts)
    job = api.run(api.client.submit(picture, "denoise", steps=8, fidelity=0))
    events = api.all(job.events())
    assert [event.id for event in events] == list(range(1, 12))
    resumed = [seen.headers.get("last-event-id") for seen in proxy.seen if seen.target.endswith("/events")]
    assert resumed == [None, *(str(sum(cuts[: n + 1])) for n in range(len(cuts)))]


def test_events_survive_refusals_and_an_unready_server(api: Api, proxy: Proxy, picture: Path) -> None:
    busy = Fault("answer", "/events", status=503, headers={"Retry-After": "0"})
    proxy.faults.extend([Fault("refuse", "/events"), busy, Fault("cut", "/events", size=3), busy])
    job = api.run(api.client.submit(picture, "denoise", steps=3, fidelity=0))
    assert [event.id for event in api.all(job.events())] == list(range(1, 7))


def test_events_that_cannot_be_had_end_in_an_error(api: Api, proxy: Proxy, picture: Path) -> None:
    job = api.run(api.make(max_retries=1).submit(picture, steps=1))
    proxy.faults.extend(Fault("refuse", "/events") for _ in range(20))
    with pytest.raises(pellucid.APIConnectionError):
        api.all(job.events())
    assert len(proxy.paths()) == 1 + 1 + policies.FOLLOW_FACTOR
    proxy.faults.clear()
    with pytest.raises(pellucid.NotFoundError):
        api.all(api.client.job("0" * 8).events())


def test_events_can_begin_after_a_known_one(api: Api, picture: Path) -> None:
    job = api.run(api.client.submit(picture, "denoise", steps=4, fidelity=0))
    api.run(job.wait())
    assert [event.id for event in api.all(job.events(after=5))] == [6, 7]


def test_after_the_last_event_there_is_none(api: Api, picture: Path) -> None:
    job = api.run(api.client.submit(picture, "denoise", steps=2, fidelity=0))
    last = api.all(job.events())[-1]
    assert last.type == "completed"
    began = time.monotonic()
    assert api.all(job.events(after=last.id)) == [] and api.all(job.events(after=1000)) == []
    assert time.monotonic() - began < 10


def test_events_can_be_left(api: Api, picture: Path) -> None:
    job = api.run(api.client.submit(picture, "denoise", steps=20, fidelity=0))
    assert len(api.first(job.events(), 2)) == 2
    assert api.run(job.wait()).state == "succeeded"


def test_events_stop_when_the_time_is_over_and_the_job_goes_on(api: Api, picture: Path) -> None:
    job = api.run(api.client.submit(picture, "denoise", steps=100, fidelity=0))
    with pytest.raises(pellucid.JobTimeoutError, match="goes on"):
        api.all(job.events(timeout=0.3))
    assert api.run(job.wait(timeout=30)).state == "succeeded"


def test_waiting_is_long_polling_not_hammering(api: Api, proxy: Proxy, picture: Path) -> None:
    job = api.run(api.client.submit(picture, "denoise", steps=100, fidelity=0))
    api.run(job.wait())
    assert len(proxy.paths("GET")) == 1
    assert proxy.seen[-1].headers["prefer"] == "wait=20"


def test_waiting_survives_a_server_that_is_away_for_a_while(api: Api, proxy: Proxy, picture: Path) -> None:
    job = api.run(api.client.submit(picture, "denoise", steps=3, fidelity=0))
    proxy.faults.extend(Fault("refuse") for _ in range(6))
    assert api.run(job.wait()).state == "succeeded"


def test_the_result_s_time_is_the_waiting_s(api: Api, picture: Path) -> None:
    job = api.run(api.client.submit(picture, "denoise", steps=1000, fidelity=0))
    began = time.monotonic()
    with pytest.raises(pellucid.JobTimeoutError) as caught:
        api.run(job.result(timeout=0.5))
    assert time.monotonic() - began < 3 and not caught.value.canceled
    assert api.run(job.refresh()).state == "running"
    api.run(job.cancel())


def test_cancel_stops_a_job_once(api: Api, picture: Path) -> None:
    job = api.run(api.client.submit(picture, "denoise", steps=1000, fidelity=0))
    api.run(job.cancel())
    assert api.run(job.wait()).state == "canceled"
    with pytest.raises(pellucid.JobCanceledError):
        api.run(job.result())
    with pytest.raises(pellucid.ConflictError) as caught:
        api.run(job.cancel())
    assert caught.value.code == "already_ended"


def test_a_cancellation_whose_answer_was_lost_has_succeeded(api: Api, proxy: Proxy, picture: Path) -> None:
    job = api.run(api.client.submit(picture, "denoise", steps=1000, fidelity=0))
    proxy.faults.append(Fault("lose_answer", "/cancel"))
    api.run(job.cancel())
    assert api.run(job.wait()).state == "canceled"


def test_delete_and_its_lost_answer(api: Api, proxy: Proxy, picture: Path) -> None:
    job = api.run(api.client.submit(picture, steps=1))
    api.run(job.wait())
    proxy.faults.append(Fault("lose_answer", "DELETE"))
    api.run(job.delete())
    assert api.run(job.refresh()).state == "expired"
    with pytest.raises(pellucid.JobExpiredError):
        api.run(job.result())


def test_jobs_are_listed_newest_first_over_pages(api: Api, proxy: Proxy, picture: Path) -> None:
    made = [api.run(api.client.submit(picture, steps=1, seed=seed)).id for seed in range(5)]
    listed = api.first(api.client.jobs.list(page_size=2), 5)
    assert [job.id for job in listed] == made[::-1]
    assert len([path for path in proxy.paths("GET") if "limit=2" in path]) == 3
    page = api.run(api.client.jobs.page(limit=3))
    assert [job.id for job in page.data] == made[:1:-1] and page.has_more
    following = api.run(api.client.jobs.page(limit=2, cursor=page.next_cursor))
    assert [job.id for job in following.data] == made[1::-1]


def test_jobs_are_filtered_by_state(api: Api, picture: Path) -> None:
    job = api.run(api.client.submit(picture, "denoise", steps=1000, fidelity=0))
    api.run(job.cancel())
    api.run(job.wait())
    found = api.first(api.client.jobs.list(state="canceled"), 1)
    assert found[0].id == job.id


def test_a_handle_is_made_from_an_id_alone(api: Api, picture: Path) -> None:
    job = api.run(api.client.submit(picture, steps=1))
    assert size(api.run(api.client.job(job.id).result())) == (40, 32)
    assert api.run(api.client.jobs.get(job.id)).info.id == job.id
    with pytest.raises(pellucid.NotFoundError):
        api.run(api.client.jobs.get("nothing"))


@pytest.mark.parametrize("name", ["", "../admin", "a/b", "a?b"])
def test_what_cannot_be_an_id_is_not_asked_for(api: Api, proxy: Proxy, name: str) -> None:
    with pytest.raises(pellucid.InvalidInputError):
        api.run(api.client.jobs.get(name))
    assert proxy.seen == []


def test_models_are_listed(api: Api) -> None:
    models = api.run(api.client.models.list())
    assert models[0].name and models[0].tasks
