"""R16: one key, one job, however often and however much at once it is sent."""

from __future__ import annotations

import asyncio

import httpx
import pytest

KEY = "8e03978e-40d5-43dd-bc93-6894a57f9324"


def jobs(server) -> int:
    return len(server.client.get("/v1/jobs", params={"limit": 100}).json()["data"])


@pytest.mark.parametrize("prefer", ["respond-async", "wait=60"])
def test_50_concurrent_identical_posts_make_one_job(serve, picture, prefer):
    async def post_all(url: str) -> list[httpx.Response]:
        headers = {"Idempotency-Key": KEY, "Prefer": prefer}
        limits = httpx.Limits(max_connections=50)
        async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits) as client:
            posts = [client.post("/v1/denoise?noise=20", content=picture(), headers=headers) for _ in range(50)]
            return await asyncio.gather(*posts)

    with serve(prior="slow:seconds=0.3", max_queue=200) as server:
        answers = asyncio.run(post_all(server.url))
        assert {answer.status_code for answer in answers} == {202 if prefer == "respond-async" else 200}
        assert len({answer.headers["pellucid-job"] for answer in answers}) == 1
        assert sum("idempotent-replayed" in answer.headers for answer in answers) == 49
        assert jobs(server) == 1
        if prefer != "respond-async":
            assert len({answer.content for answer in answers}) == 1
        # What the others had sent lies nowhere.
        server.ended(answers[0].headers["pellucid-job"])
        inputs = [path for path in (server.settings.data_dir / "blobs" / "input").rglob("*") if path.is_file()]
        assert len(inputs) <= 1


def test_the_key_with_another_payload_is_refused(serve, picture):
    with serve() as server:
        headers = {"Idempotency-Key": KEY}
        first = server.client.post("/v1/denoise?seed=1", content=picture(), headers=headers)
        quoted = server.client.post("/v1/denoise?seed=1", content=picture(), headers={"Idempotency-Key": f'"{KEY}"'})
        assert quoted.headers["pellucid-job"] == first.headers["pellucid-job"]
        assert quoted.content == first.content
        for path, data in (
            ("/v1/denoise?seed=2", picture()),
            ("/v1/denoise?seed=1", picture(seed=9)),
            ("/v1/dejpeg?seed=1&quality=50", picture()),
            ("/v1/denoise?seed=1&output_format=webp", picture()),
        ):
            other = server.client.post(path, content=data, headers=headers)
            assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")
        assert jobs(server) == 1
        other_key = server.client.post("/v1/denoise?seed=1", content=picture(), headers={"Idempotency-Key": "another"})
        assert other_key.headers["pellucid-job"] != first.headers["pellucid-job"]


@pytest.mark.parametrize("key", ["", '""', "a b", "x" * 256, 'a"b'])
def test_a_key_that_is_none_is_malformed(server, picture, key):
    answer = server.client.post("/v1/denoise", content=picture(), headers={"Idempotency-Key": key})
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_request")
