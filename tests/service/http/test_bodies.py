"""What is refused of a body: too many bytes, no picture, too many pixels, what cannot be read."""

from __future__ import annotations

import base64
import io
import json
import socket

import httpx
import numpy as np
import pytest
from PIL import Image


def code_of(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    assert answer.json()["status"] == answer.status_code
    return answer.status_code, answer.json()["code"]


def b64(data: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(data).decode()}


def test_upload_is_used_in_any_number_of_requests_and_by_nobody_else(server, picture):
    for upload in (
        server.client.post("/v1/uploads", content=picture("jpeg")),
        server.client.post("/v1/uploads", files={"image": picture("jpeg")}),
    ):
        assert upload.status_code == 201, upload.text
        told = upload.json()
        assert (told["media_format"], told["width"], told["height"]) == ("jpeg", 24, 16)
        assert told["bytes"] == len(picture("jpeg"))
    body = {"image": {"upload_id": told["upload_id"]}, "task": "denoise", "noise": 20}
    answers = [server.client.post("/restore", json=body, headers={"Accept": "image/png"}) for _ in range(2)]
    assert answers[0].status_code == 200, answers[0].text
    assert answers[0].content == answers[1].content
    body["image"] = {"upload_id": "nobody-has-this"}
    assert code_of(server.client.post("/restore", json=body)) == (422, "unknown_upload")


def test_upload_refuses_what_is_no_picture_and_fields_it_has_not(server, picture):
    assert code_of(server.client.post("/v1/uploads", content=b"GIF89a" + bytes(100))) == (415, "unsupported_media_type")
    assert code_of(server.client.post("/v1/uploads", json={"image": b64(picture())})) == (415, "unsupported_media_type")
    more = server.client.post("/v1/uploads", files={"image": picture()}, data={"task": "denoise"})
    assert code_of(more) == (422, "invalid_parameter")
    none = server.client.post("/v1/uploads", files={"other": picture()})
    assert none.json()["errors"][0]["field"] == "other"


def test_url_sources_are_refused_unless_switched_on(server):
    for url in ("https://example.com/a.png", "http://127.0.0.1/a.png"):
        body = {"image": {"url": url}, "task": "denoise"}
        assert code_of(server.client.post("/restore", json=body)) == (422, "url_refused")
    body = {"image": {"url": "file:///etc/passwd"}, "task": "denoise"}
    assert code_of(server.client.post("/restore", json=body)) == (422, "invalid_parameter")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "image"),
        ({"image": {}}, "image"),
        ({"image": {"b64": "AAAA", "url": "https://example.com/"}}, "image.url"),
        ({"image": {"b64": "%%%"}}, "image.b64"),
        ({"image": {"b64": "AAA"}}, "image.b64"),
        ({"image": {"upload_id": "../x"}}, "image.upload_id"),
        ({"image": {"b64": "AAAA"}, "task": 3}, "task"),
        ({"image": {"b64": "AAAA"}, "noise": 256}, "noise"),
    ],
)
def test_wrong_json_names_the_field(server, body, field):
    answer = server.client.post("/restore", content=json.dumps(body), headers={"Content-Type": "application/json"})
    assert answer.status_code == 422, answer.text
    assert field in {error["field"] for error in answer.json()["errors"]}, answer.text


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", '{"image"', "\ufeff{}", "[" * 5000])
def test_json_that_is_none_is_refused(server, text):
    answer = server.client.post("/restore", content=text.encode(), headers={"Content-Type": "application/json"})
    assert code_of(answer) in ((400, "malformed_request"), (422, "invalid_parameter"))


def test_multipart_that_is_none_is_malformed(server):
    for content_type in ("multipart/form-data", "multipart/form-data; boundary=x"):
        answer = server.client.post("/restore", content=b"--y\r\n\r\nhello", headers={"Content-Type": content_type})
        assert answer.status_code in (400, 422), answer.text
        assert answer.json()["code"] in ("malformed_request", "invalid_parameter")


def test_what_is_said_twice_or_beside_the_body_is_refused(server, picture):
    data = picture()
    for answer in (
        server.client.post("/restore?seed=1&seed=2", content=data),
        server.client.post("/restore?seed=1", files={"image": data}),
        server.client.post("/restore?seed=1", json={"image": b64(data)}),
        server.client.post("/restore", files={"image": data, "params": (None, '{"seed": 1}')}, data={"seed": "1"}),
        server.client.post("/restore", files={"image": data, "params": (None, "[1]")}),
        server.client.post("/restore", files=[("image", data), ("image", data)]),
    ):
        assert code_of(answer) == (422, "invalid_parameter"), answer.text


def test_magic_bytes_decide_not_the_declared_type(server, picture):
    png = server.client.post("/v1/denoise", content=picture("png"), headers={"Content-Type": "image/jpeg"})
    assert png.status_code == 200
    assert png.headers["content-type"] == "image/png"
    for data in (b"GIF89a" + bytes(100), b"%PDF-1.7\n", b"<svg></svg>", bytes(1000), b"hello"):
        answer = server.client.post("/v1/denoise", content=data, headers={"Content-Type": "image/png"})
        assert code_of(answer) == (415, "unsupported_media_type")
    gzipped = server.client.post("/v1/denoise", content=picture(), headers={"Content-Encoding": "gzip"})
    assert code_of(gzipped) == (415, "unsupported_media_type")
    assert code_of(server.client.post("/v1/denoise", content=picture()[:300])) == (422, "undecodable_image")
    assert code_of(server.client.post("/v1/denoise", content=b"")) == (422, "undecodable_image")


def test_animations_are_refused(server):
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "green")]
    file = io.BytesIO()
    frames[0].save(file, "WEBP", save_all=True, append_images=frames[1:])
    assert code_of(server.client.post("/v1/denoise", content=file.getvalue())) == (422, "too_many_frames")


def test_limits_of_bytes_pixels_side_and_work(serve, picture):
    with serve(max_bytes=4000, max_pixels=2000, max_side=60, max_output_pixels=4000, max_work=0.03) as server:
        post = server.client.post
        assert post("/v1/denoise", content=picture()).status_code == 200
        # Declared, and found out while it comes.
        assert code_of(post("/v1/denoise", content=bytes(4001))) == (413, "too_large")
        assert code_of(post("/v1/denoise", content=iter([bytes(3000), bytes(3000)]))) == (413, "too_large")
        assert code_of(post("/v1/denoise", files={"image": bytes(4001)})) == (413, "too_large")
        long = b64(np.random.default_rng(0).bytes(4001))
        assert code_of(post("/v1/denoise", json={"image": long})) == (413, "too_large")
        assert code_of(post("/v1/uploads", content=bytes(4001))) == (413, "too_large")
        assert code_of(post("/v1/denoise", content=picture("jpeg", 50, 50))) == (422, "image_size")
        assert code_of(post("/v1/denoise", content=picture("jpeg", 61, 8))) == (422, "image_size")
        assert code_of(post("/v1/super-resolve", content=picture(width=24, height=12))) == (422, "image_size")
        assert code_of(post("/v1/denoise?steps=100&fidelity=0", content=picture())) == (422, "work_budget")
        assert post("/v1/denoise?steps=70&fidelity=0", content=picture()).status_code == 200
        assert post("/v1/denoise?steps=100", content=picture()).status_code == 200, "eight calls, not a hundred"


def test_client_that_waits_for_100_continue_is_told_before_it_sends(serve):
    with serve(max_bytes=1000) as server:
        host, _, port = server.url.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(
                b"POST /v1/denoise HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000000\r\n"
                b"Expect: 100-continue\r\n\r\n"
            )
            assert connection.recv(100).startswith(b"HTTP/1.1 413")


def test_unknown_priors_and_webhooks_without_a_secret_are_refused(serve, picture):
    with serve() as server:
        answer = server.client.post("/v1/denoise?prior=nobody", content=picture())
        assert code_of(answer) == (422, "unknown_prior")
        answer = server.client.post("/v1/denoise?webhook=https://example.com/", content=picture())
        assert code_of(answer) == (422, "invalid_parameter")


def test_webhooks_to_the_inside_are_refused_before_anything_is_stored(serve, picture):
    with serve(webhook_secret="whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3") as server:
        for body in ({"content": picture(), "params": {"webhook": "https://10.0.0.1/"}},
                     {"json": {"image": b64(picture()), "webhook": "https://[fe80::1]/"}}):  # fmt: skip
            answer = server.client.post("/v1/denoise", **body)
            assert code_of(answer) == (422, "url_refused")
            assert answer.json()["errors"][0]["field"] == "webhook"
        assert server.client.get("/v1/jobs").json()["data"] == []
        assert not [path for path in (server.settings.data_dir / "blobs").rglob("*") if path.is_file()]
