"""/v1/jobs: list, wait, follow, cancel, delete."""

from __future__ import annotations

import itertools
import json
import time
import uuid

import httpx

SLOW = {"prior": "slow:seconds=0.05", "jobs_at_once": 1}


def events_of(answer: httpx.Response) -> list[dict[str, object]]:
    found = []
    for block in answer.text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if line and not line.startswith(":"))
        if "event" in lines:
            found.append({"id": int(lines["id"]), "event": lines["event"], "data": json.loads(lines["data"])})
    return found


def test_jobs_are_listed_newest_first_page_by_page(serve, picture):
    with serve() as server:
        made = [server.submit(picture(seed=n)) for n in range(5)]
        for job_id in made:
            server.ended(job_id)
        found, cursor, pages = [], None, 0
        while True:
            page = server.client.get("/v1/jobs", params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
            found += [job["id"] for job in page["data"]]
            pages += 1
            cursor = page["next_cursor"]
            assert page["has_more"] == (cursor is not None)
            if cursor is None:
                break
        assert (found, pages) == (made[::-1], 3)
        assert server.client.get("/v1/jobs", params={"state": "queued"}).json()["data"] == []
        assert len(server.client.get("/v1/jobs", params={"state": "succeeded"}).json()["data"]) == 5
        for wrong in ({"cursor": "nonsense"}, {"limit": "0"}, {"limit": "101"}, {"state": "lost"}, {"cursor": "a b"}):
            answer = server.client.get("/v1/jobs", params=wrong)
            assert (answer.status_code, answer.json()["code"]) == (422, "invalid_parameter"), wrong
            assert answer.json()["errors"][0]["field"] in wrong


def test_a_job_tells_all_about_itself(server, picture):
    job = server.ended(server.submit(picture("jpeg"), seed=5, noise=20))
    assert uuid.UUID(job["id"]).version == 7
    assert job["state"] == "succeeded"
    assert job["input"] == {"format": "jpeg", "width": 24, "height": 16}
    assert job["effective"]["seed"] == 5
    assert job["effective"]["nfe"] >= 1
    assert set(job["metrics"]) == {"queue", "decode", "restore", "encode", "nfe"}
    assert job["created_at"] <= job["started_at"] <= job["finished_at"] < job["expires_at"]
    assert job["progress"]["fraction"] == 1.0
    assert job["links"]["result"] == job["result"]["url"]
    etag = server.client.get(f"/v1/jobs/{job['id']}").headers["etag"]
    unchanged = server.client.get(f"/v1/jobs/{job['id']}", headers={"If-None-Match": etag})
    assert (unchanged.status_code, unchanged.content) == (304, b"")


def test_unknown_jobs_are_404_everywhere(server):
    for job_id in (str(uuid.uuid4()), "x", "0" * 36, "%2e%2e"):
        path = f"/v1/jobs/{job_id}"
        answers = [server.client.get(path + end) for end in ("", "/result", "/report", "/uncertainty", "/events")]
        answers += [server.client.post(f"{path}/cancel"), server.client.delete(path)]
        assert {(a.status_code, a.json()["code"]) for a in answers} == {(404, "not_found")}


def test_a_long_poll_ends_with_the_job(serve, picture):
    with serve(**SLOW) as server:
        job_id = server.submit(picture(), steps=10, fidelity=0)
        started = time.monotonic()
        job = server.client.get(f"/v1/jobs/{job_id}", headers={"Prefer": "wait=30"}).json()
        assert job["state"] == "succeeded"
        assert time.monotonic() - started < 20


def test_events_are_resumed_behind_the_last_one_received(serve, picture):
    with serve(**SLOW) as server:
        job_id = server.submit(picture(), steps=30, fidelity=0)
        whole = events_of(server.client.get(f"/v1/jobs/{job_id}/events"))
        kinds = [event["event"] for event in whole]
        assert (kinds[:2], kinds[-1]) == (["queued", "started"], "completed")
        assert "progress" in kinds
        assert [event["id"] for event in whole] == list(range(1, len(whole) + 1))
        for last in (0, 1, 3, len(whole) - 1, len(whole)):
            rest = server.client.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": str(last)})
            assert events_of(rest) == whole[last:]
        wrong = server.client.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": "x"})
        assert (wrong.status_code, wrong.json()["code"]) == (400, "malformed_request")
        assert server.client.get(f"/v1/jobs/{job_id}/events", headers={"Accept": "image/png"}).status_code == 406


def test_a_cut_off_stream_loses_nothing(serve, picture):
    """Read two events, hang up, come back: together it is every event once, in order."""
    with serve(**SLOW) as server:
        job_id = server.submit(picture(), steps=40, fidelity=0)
        with server.client.stream("GET", f"/v1/jobs/{job_id}/events") as stream:
            lines = [line for line in itertools.islice(stream.iter_lines(), 9) if line.startswith("id: ")]
        last = int(lines[-1].removeprefix("id: "))
        rest = events_of(server.client.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": str(last)}))
        assert [event["id"] for event in rest] == list(range(last + 1, last + 1 + len(rest)))
        assert rest[-1]["event"] == "completed"
        assert rest[-1]["data"]["job"]["state"] == "succeeded"


def test_silence_is_filled_with_comments(serve, picture, monkeypatch):
    from service.http import events

    monkeypatch.setattr(events, "COMMENT_SECONDS", 0.05)
    with serve(prior="slow:seconds=0.5") as server:
        job_id = server.submit(picture(), steps=1, fidelity=0)
        assert ": still here\n" in server.client.get(f"/v1/jobs/{job_id}/events").text


def test_previews_come_when_asked_for(serve, picture):
    with serve(prior="slow:seconds=0.3") as server:
        asked = server.submit(picture(), steps=6, previews="true", fidelity=0)
        shown = [e for e in events_of(server.client.get(f"/v1/jobs/{asked}/events")) if e["event"] == "preview"]
        assert shown
        assert shown[0]["data"]["media_type"] == "image/jpeg"
        silent = server.submit(picture(), steps=2, fidelity=0)
        assert "preview" not in server.client.get(f"/v1/jobs/{silent}/events").text


def test_cancel_and_delete(serve, picture):
    with serve(**SLOW) as server:
        running = server.submit(picture(), steps=200, fidelity=0)
        queued = server.submit(picture(), steps=200, fidelity=0)
        while server.client.get(f"/v1/jobs/{running}").json()["state"] != "running":
            time.sleep(0.01)
        refused = server.client.delete(f"/v1/jobs/{running}")
        assert (refused.status_code, refused.json()["code"]) == (409, "not_finished")
        canceled = server.client.post(f"/v1/jobs/{queued}/cancel")
        assert (canceled.status_code, canceled.json()["state"]) == (202, "canceled")
        assert server.client.post(f"/v1/jobs/{running}/cancel").status_code == 202
        assert server.ended(running)["state"] == "canceled"
        for job_id in (running, queued):
            again = server.client.post(f"/v1/jobs/{job_id}/cancel")
            assert (again.status_code, again.json()["code"]) == (409, "already_ended")
            result = server.client.get(f"/v1/jobs/{job_id}/result")
            assert (result.status_code, result.json()["code"]) == (409, "job_canceled")
        assert server.client.delete(f"/v1/jobs/{running}").status_code == 204
        assert server.client.get(f"/v1/jobs/{running}").json()["state"] == "expired"
        assert server.client.get(f"/v1/jobs/{running}/result").status_code == 410


def test_delete_removes_the_files_now(serve, picture):
    with serve() as server:
        job = server.ended(server.submit(picture()))
        folder = server.settings.data_dir / "blobs"
        assert [path for path in folder.rglob("*") if path.is_file()]
        assert server.client.delete(f"/v1/jobs/{job['id']}").status_code == 204
        assert [path for path in folder.rglob("*") if path.is_file()] == []
        for end in ("result", "report"):
            gone = server.client.get(f"/v1/jobs/{job['id']}/{end}")
            assert (gone.status_code, gone.json()["code"]) == (410, "expired")
        events = events_of(server.client.get(f"/v1/jobs/{job['id']}/events"))
        assert events[-1]["event"] == "completed"
