"""Which of the five answers: Accept and Prefer, on the wire and taken apart."""

from __future__ import annotations

import base64

import pytest

from service.http.negotiation import Accept, Kind, Prefer
from service.problems import Code, Problem

ANY = "image/png,image/webp,image/tiff,image/jpeg"


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (None, "image"), ("", "image"), ("*/*", "image"), ("image/*", "image"), ("application/json", "json"),
        ("text/event-stream", "events"), ("application/*", "json"), ("text/*;q=0.5, application/json;q=0.4", "events"),
        ("image/*;q=0, */*", "json"), ("application/json, image/png", "image"), ("IMAGE/PNG", "image"),
        ("image/gif, application/json;q=0.1", "json"), (" , application/json , ", "json"),
    ],
)  # fmt: skip
def test_the_most_wanted_kind_is_chosen(accept, kind):
    assert Accept(accept).kind(Kind.IMAGE) == kind


@pytest.mark.parametrize(
    "accept", ["image/gif", "text/html", "*/*;q=0", "image/png;q=0.0", "application/xml, text/plain"]
)
def test_nothing_acceptable_is_said(accept):
    with pytest.raises(Problem) as caught:
        Accept(accept).kind(Kind.IMAGE)
    assert caught.value.code is Code.NOT_ACCEPTABLE


@pytest.mark.parametrize("accept", ["png", "image/", "image/png;q=2", "image/png;q=x", "a/b/c"])
def test_a_header_that_makes_no_sense_is_malformed(accept):
    with pytest.raises(Problem) as caught:
        Accept(accept)
    assert caught.value.code is Code.MALFORMED_REQUEST


@pytest.mark.parametrize(
    ("accept", "native", "asked", "format"),
    [
        ("*/*", "jpeg", None, "jpeg"), ("image/*", "tiff", None, "tiff"), ("*/*", "heic", None, "png"),
        ("image/webp", "png", None, "webp"), ("image/jpeg;q=0.5, image/png;q=0.9", "jpeg", None, "png"),
        ("*/*", "jpeg", "webp", "webp"),
    ],
)  # fmt: skip
def test_the_format_is_the_one_asked_for_else_the_given_pictures(accept, native, asked, format):
    assert Accept(accept).image_format(native, asked) == format


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, Prefer()), ("respond-async", Prefer(True)), ("wait=30", Prefer(False, 30)),
        ('wait="5"', Prefer(False, 5)), ("respond-async, wait=2", Prefer(True, 2)), ("wait=-1, nonsense=1", Prefer()),
        ("wait=1, wait=2", Prefer(False, 1)), ("Respond-Async; foo=bar", Prefer(True)), ("wait=99999999", Prefer()),
    ],
)  # fmt: skip
def test_preferences(header, expected):
    assert Prefer.parse(header) == expected


@pytest.mark.parametrize("format", ["png", "jpeg", "webp", "tiff"])
def test_each_format_is_answered(server, picture, format):
    answer = server.client.post("/v1/denoise", content=picture(), headers={"Accept": f"image/{format}"})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == f"image/{format}"
    assert answer.headers["vary"] == "Accept, Prefer"
    again = server.client.post(f"/v1/denoise?output_format={format}", content=picture())
    assert again.content == answer.content


def test_a_raw_body_is_answered_with_the_picture_and_a_json_body_with_json(server, picture):
    assert server.client.post("/v1/denoise", content=picture()).headers["content-type"] == "image/png"
    body = {"image": {"b64": base64.b64encode(picture()).decode()}}
    assert server.client.post("/v1/denoise", json=body).headers["content-type"] == "application/json"


def test_nothing_acceptable_is_406_before_any_work(server, picture):
    before = server.engine.steps
    answer = server.client.post("/v1/denoise", content=picture(), headers={"Accept": "text/html"})
    assert (answer.status_code, answer.json()["code"]) == (406, "not_acceptable")
    ruled_out = server.client.post("/v1/denoise?output_format=png", content=picture(), headers={"Accept": "image/jpeg"})
    assert ruled_out.status_code == 406
    assert server.engine.steps == before
    for path in ("/v1/jobs", "/v1/models", "/v1/models/photo"):
        assert server.client.get(path, headers={"Accept": "image/png"}).status_code == 406


def test_wait_answers_with_the_result_when_it_is_there_in_time_else_202(serve, picture):
    with serve(prior="slow:seconds=0.1") as server:
        quick = server.client.post("/v1/denoise", content=picture(), headers={"Prefer": "wait=20"})
        assert quick.status_code == 200
        assert quick.headers["preference-applied"] == "wait=20"
        slow = server.client.post("/v1/denoise?steps=60&fidelity=0", content=picture(), headers={"Prefer": "wait=1"})
        assert slow.status_code == 202
        assert slow.headers["location"] == f"/v1/jobs/{slow.json()['id']}"
        assert slow.json()["state"] == "running"
        # Nobody waits any more, and it goes on.
        job = server.client.get(slow.headers["location"], headers={"Prefer": "wait=1"})
        assert job.headers["preference-applied"] == "wait=1"
        assert job.headers["retry-after"] == "1"
        assert job.json()["state"] == "running"
        assert server.client.post(f"{slow.headers['location']}/cancel").status_code == 202


def test_the_longest_synchronous_wait_is_a_setting(serve, picture):
    with serve(prior="slow:seconds=0.1", sync_seconds=0.3) as server:
        answer = server.client.post("/v1/denoise?steps=100&fidelity=0", content=picture())
        assert answer.status_code == 202
        server.client.post(f"{answer.headers['location']}/cancel")
