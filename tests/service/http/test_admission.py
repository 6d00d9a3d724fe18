"""Who may do how much: keys, scopes, quotas, a full queue, hosts, origins, and what every answer carries."""

from __future__ import annotations

import asyncio
import json
import time

import httpx
import pytest

from service.protection import keys
from service.protection.keys import Scope

DATA_POLICY = "default-src 'none'; frame-ancestors 'none'; sandbox"


def refused(answer: httpx.Response, status: int, code: str) -> bool:
    return (answer.status_code, answer.json()["code"]) == (status, code)


@pytest.fixture
def key_file(tmp_path):
    return tmp_path / "keys.json"


def test_without_a_key_only_what_is_public_answers(serve, picture, key_file):
    key = keys.add(key_file, "mine", list(Scope))
    with serve(auth="required", api_keys_file=key_file) as server:
        get, post = server.client.get, server.client.post
        for path in (
            "/livez",
            "/readyz",
            "/v2/health/live",
            "/v2/health/ready",
            "/openapi.json",
            "/",
            "/problems/quota",
        ):
            assert get(path).status_code == 200, path
        for answer in (
            post("/restore", content=picture()), post("/v1/uploads", content=picture()), get("/v1/jobs"),
            get("/v1/models"), get("/metrics"), get("/v1/nothing"),
        ):  # fmt: skip
            assert refused(answer, 401, "unauthenticated")
            assert answer.headers["www-authenticate"] == "Bearer"
        for wrong in (
            f"Bearer {key}x",
            "Bearer nonsense",
            f"Basic {key}",
            f"Bearer {key[:-1]}{'AB'[key[-1] == 'A']}",
            "Bearer",
        ):
            assert refused(get("/v1/jobs", headers={"Authorization": wrong}), 401, "unauthenticated")
        assert get("/v1/jobs", headers={"Authorization": f"Bearer {key}"}).status_code == 200
        assert get("/v1/jobs", headers={"X-API-Key": key}).status_code == 200


def test_the_file_holds_hashes_only(key_file):
    key = keys.add(key_file, "mine", [Scope.JOBS])
    assert key.split("_", 2)[2] not in key_file.read_text()
    assert key_file.stat().st_mode & 0o077 == 0
    (entry,) = json.loads(key_file.read_text())["keys"]
    assert len(entry["sha256"]) == 64


def test_a_key_does_what_its_scopes_say_and_sees_its_own_jobs_only(serve, picture, key_file):
    who = {
        name: {"Authorization": f"Bearer {keys.add(key_file, name, scopes)}"}
        for name, scopes in {
            "one": [Scope.RESTORE, Scope.JOBS], "two": [Scope.JOBS, Scope.RESTORE], "sender": [Scope.RESTORE],
            "operator": [Scope.ADMIN],
        }.items()
    }  # fmt: skip
    with serve(auth="required", api_keys_file=key_file) as server:
        get, post = server.client.get, server.client.post
        job_id = post("/v1/denoise", content=picture(), headers=who["one"]).headers["pellucid-job"]
        assert get(f"/v1/jobs/{job_id}", headers=who["one"]).status_code == 200
        for path in (f"/v1/jobs/{job_id}", f"/v1/jobs/{job_id}/result", f"/v1/jobs/{job_id}/events"):
            assert refused(get(path, headers=who["two"]), 404, "not_found")
        assert refused(server.client.delete(f"/v1/jobs/{job_id}", headers=who["two"]), 404, "not_found")
        assert get("/v1/jobs", headers=who["two"]).json()["data"] == []
        upload = post("/v1/uploads", content=picture(), headers=who["one"]).json()["upload_id"]
        body = {"image": {"upload_id": upload}, "task": "denoise"}
        assert refused(post("/restore", json=body, headers=who["two"]), 422, "unknown_upload")
        assert post("/v1/denoise", content=picture(), headers=who["sender"]).status_code == 200
        assert refused(get("/v1/jobs", headers=who["sender"]), 403, "forbidden")
        assert refused(get("/metrics", headers=who["one"]), 403, "forbidden")
        assert refused(post("/v1/denoise", content=picture(), headers=who["operator"]), 403, "forbidden")
        assert get("/metrics", headers=who["operator"]).status_code == 200


def test_a_removed_key_stops_working_without_a_restart(serve, key_file, monkeypatch):
    monkeypatch.setattr(keys, "_CHECK_SECONDS", 0.0)
    key = keys.add(key_file, "mine", list(Scope))
    with serve(auth="required", api_keys_file=key_file) as server:
        headers = {"Authorization": f"Bearer {key}"}
        assert server.client.get("/v1/jobs", headers=headers).status_code == 200
        keys.remove(key_file, key.split("_")[1])
        assert server.client.get("/v1/jobs", headers=headers).status_code == 401


def test_a_key_has_so_many_requests_a_minute_and_so_many_jobs(serve, picture, key_file):
    first, second = ({"X-API-Key": keys.add(key_file, name, list(Scope))} for name in "ab")
    with serve(
        auth="required", api_keys_file=key_file, requests_per_minute=8, jobs_per_key=2, prior="slow:seconds=0.2"
    ) as server:
        slow = {"Prefer": "respond-async"} | first
        answers = [
            server.client.post("/v1/denoise?fidelity=0&steps=100", content=picture(), headers=slow) for _ in range(3)
        ]
        assert [answer.status_code for answer in answers] == [202, 202, 429]
        assert refused(answers[2], 429, "quota")
        assert 1 <= int(answers[2].headers["retry-after"]) <= 120
        for _ in range(5):
            assert server.client.get("/v1/jobs", headers=first).status_code == 200
        late = server.client.get("/v1/jobs", headers=first)
        assert refused(late, 429, "quota")
        assert 1 <= int(late.headers["retry-after"]) <= 60
        assert server.client.get("/v1/jobs", headers=second).status_code == 200


def test_ten_times_too_much_is_refused_at_once_and_what_was_accepted_is_done(serve, picture):
    """R10: the rest are honest 503s with Retry-After, soon; nothing that was taken is lost."""

    async def flood(url: str) -> list[tuple[httpx.Response, float]]:
        limits = httpx.Limits(max_connections=100)
        async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits) as client:

            async def one() -> tuple[httpx.Response, float]:
                begun = time.perf_counter()
                answer = await client.post(
                    "/v1/denoise?noise=20", content=picture(), headers={"Prefer": "respond-async"}
                )
                return answer, time.perf_counter() - begun

            return await asyncio.gather(*(one() for _ in range(100)))

    with serve(prior="slow:seconds=0.2", max_queue=8, jobs_at_once=2) as server:
        answers = [answer for answer, _ in asyncio.run(flood(server.url))]
        codes = [answer.status_code for answer in answers]
        assert set(codes) == {202, 503}
        assert 8 <= codes.count(202) <= 24  # what waits, what runs, and what ran meanwhile
        for answer in answers:
            if answer.status_code == 503:
                assert answer.json()["code"] == "saturated"
                assert 1 <= int(answer.headers["retry-after"]) <= 120
        assert server.client.get("/livez").status_code == 200
        ended = [server.ended(answer.json()["id"]) for answer in answers if answer.status_code == 202]
        assert {job["state"] for job in ended} == {"succeeded"}
        assert server.client.post("/v1/denoise", content=picture()).status_code == 200


def test_503_while_no_worker_is_ready(serve, picture):
    with serve() as server:
        for state, word in (("starting", "starting"), ("broken", "operator")):
            server.engine.state = state
            answer = server.client.post("/v1/denoise", content=picture())
            assert refused(answer, 503, "starting")
            assert word in answer.json()["detail"]
            assert int(answer.headers["retry-after"]) >= 1
            assert refused(server.client.get("/readyz"), 503, "starting")
            assert server.client.get("/livez").status_code == 200
        server.engine.state = "restarting"  # it will be back: work waits for it
        assert refused(server.client.get("/readyz"), 503, "starting")
        server.engine.state = "ready"
        assert server.client.get("/readyz?verbose").json()["devices"][0]["device"] == "cpu"


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("127.0.0.1", True), ("localhost:8000", True), ("LOCALHOST", True), ("[::1]:80", True), ("a.localhost", True),
        ("photos.example", True), ("evil.example", False), ("127.0.0.1.evil.example", False), ("", False),
        ("localhost.evil.example", False), ("10.0.0.1", False), ("evil.example:1", False), ("photos.example.e", False),
    ],
)  # fmt: skip
def test_a_server_at_home_answers_for_its_own_names_only(serve, host, allowed):
    with serve(allowed_hosts="photos.example") as server:
        answer = server.client.get("/v1/jobs", headers={"Host": host})
        assert answer.status_code == 200 if allowed else refused(answer, 403, "host_not_allowed")


def test_pages_of_foreign_origins_may_not_call(serve, picture):
    with serve() as server:
        own = server.url
        for origin in ("https://evil.example", "null", "http://localhost:1", "file://", f"{own}.evil.example"):
            answer = server.client.post("/v1/denoise", content=picture(), headers={"Origin": origin})
            assert refused(answer, 403, "origin_not_allowed")
        same = server.client.get("/v1/jobs", headers={"Origin": own})
        assert same.status_code == 200
        assert not [name for name in same.headers if name.startswith("access-control-")]
    with serve(allowed_origins="https://app.example") as server:
        answer = server.client.get("/v1/jobs", headers={"Origin": "https://app.example"})
        assert answer.headers["access-control-allow-origin"] == "https://app.example"
        assert "X-Request-Id" in answer.headers["access-control-expose-headers"]
        asked = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
        assert server.client.options("/restore", headers=asked).status_code == 200
        assert server.client.get("/v1/jobs", headers={"Origin": "https://evil.example"}).status_code == 403


def test_every_answer_carries_its_id_and_tells_browsers_to_keep_off(server, picture):
    for answer in (
        server.client.post("/v1/denoise", content=picture()), server.client.get("/v1/jobs"),
        server.client.get("/livez"), server.client.get("/nothing"),
        server.client.post("/v1/denoise", content=b"x"), server.client.put("/restore"),
    ):  # fmt: skip
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert answer.headers["content-security-policy"] == DATA_POLICY
        assert answer.headers["x-request-id"]
        assert "server" not in answer.headers or answer.headers["server"] == "uvicorn"
    for given, kept in (("abc-1", True), ("a b", False), ("x" * 129, False), ("a\u00e9", False)):
        answer = server.client.get("/livez", headers={"X-Request-Id": given.encode("latin-1")})
        assert (answer.headers["x-request-id"] == given) is kept
