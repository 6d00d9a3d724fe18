"""POST /restore: three bodies, five answers."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from PIL import Image

Picture = Callable[..., bytes]


def opened(answer: httpx.Response) -> Image.Image:
    assert answer.status_code == 200, answer.text
    return Image.open(io.BytesIO(answer.content))


def test_raw_body_with_query_gives_the_picture_back_in_its_own_format(client: httpx.Client, picture: Picture) -> None:
    for format in ("png", "jpeg", "webp", "tiff"):
        answer = client.post(
            "/restore?task=denoise&noise=25&seed=3", content=picture(format), headers={"Content-Type": "image/x"}
        )
        assert opened(answer).format == format.upper()
        assert answer.headers["content-type"] == f"image/{format}"
        assert answer.headers["pellucid-seed"] == "3"
        assert answer.headers["pellucid-model"].startswith("tiny@sha256:")
        assert "restore;dur=" in answer.headers["server-timing"]


def test_the_three_bodies_make_the_same_picture(client: httpx.Client, picture: Picture) -> None:
    data = picture()
    accept = {"Accept": "image/png"}
    raw = client.post("/restore?task=denoise&noise=25&fidelity=0.5", content=data, headers=accept)
    flat = {"task": "denoise", "noise": "25", "fidelity": "0.5"}
    form = client.post("/restore", files={"image": data}, data=flat, headers=accept)
    params = {"task": "denoise", "noise": 25, "fidelity": 0.5}
    part = client.post(
        "/restore", files={"image": data, "params": (None, json.dumps(params), "application/json")}, headers=accept
    )
    body = {"image": {"b64": base64.b64encode(data).decode()}, **params}
    as_json = client.post("/restore", json=body, headers=accept)
    facade = client.post("/v1/denoise?noise=25&fidelity=0.5", content=data, headers=accept)
    versioned = client.post("/v1/restore?task=denoise&noise=25&fidelity=0.5", content=data, headers=accept)
    answers = [raw, form, part, as_json, facade, versioned]
    assert [answer.status_code for answer in answers] == [200] * 6, [answer.text for answer in answers][:1]
    assert {answer.content for answer in answers} == {raw.content}


def test_super_resolution_enlarges(client: httpx.Client, picture: Picture) -> None:
    answer = client.post("/v1/super-resolve?scale=2", content=picture(width=20, height=12))
    assert opened(answer).size == (40, 24)


def test_inpainting_takes_a_mask_and_deblurring_a_kernel(client: httpx.Client, picture: Picture) -> None:
    mask = Image.new("L", (24, 16))
    mask.paste(255, (4, 4, 8, 8))
    stream = io.BytesIO()
    mask.save(stream, "PNG")
    filled = client.post("/v1/inpaint", files={"image": picture(), "mask": stream.getvalue()}, data={"steps": "2"})
    assert opened(filled).size == (24, 16)
    for kernel in ("gaussian:1.5", "motion:5:30", "[[0, 1, 0], [1, 2, 1], [0, 1, 0]]"):
        sharp = client.post("/v1/deblur", files={"image": picture()}, data={"kernel": kernel, "steps": "2"})
        assert opened(sharp).size == (24, 16)
    body = {"image": {"b64": base64.b64encode(picture()).decode()}, "kernel": [[1, 2, 1]], "steps": 2}
    assert client.post("/v1/deblur", json=body).status_code == 200


def test_a_json_answer_is_the_job_with_the_picture_inside_if_asked(client: httpx.Client, picture: Picture) -> None:
    body = {"image": {"b64": base64.b64encode(picture()).decode()}, "task": "denoise", "inline": True}
    job = client.post("/restore", json=body).json()
    assert job["state"] == "succeeded"
    inside = base64.b64decode(job["result"]["b64"])
    assert inside == client.get(job["result"]["url"]).content
    assert job["effective"]["prior"] == "tiny"
    body["inline"] = False
    assert client.post("/restore", json=body).json()["result"]["b64"] is None


def test_respond_async_answers_202_and_the_job_goes_on(client: httpx.Client, picture: Picture) -> None:
    answer = client.post("/v1/denoise", content=picture(), headers={"Prefer": "respond-async"})
    assert answer.status_code == 202
    assert answer.headers["preference-applied"] == "respond-async"
    job = client.get(answer.headers["location"], headers={"Prefer": "wait=30"}).json()
    assert job["state"] == "succeeded"
    assert job["id"] == answer.headers["pellucid-job"] == answer.json()["id"]


def test_event_stream_tells_the_story_and_ends_with_the_job(client: httpx.Client, picture: Picture) -> None:
    answer = client.post("/v1/deblur", files={"image": picture()}, data={"kernel": "gaussian:1", "steps": "3"},
                         headers={"Accept": "text/event-stream"})  # fmt: skip
    assert answer.headers["content-type"].startswith("text/event-stream")
    found = events(answer.text)
    assert [event["event"] for event in found] == ["queued", "started", *["progress"] * 3, "completed"]
    assert [int(event["id"]) for event in found] == [1, 2, 3, 4, 5, 6]
    assert found[-1]["data"]["job"]["state"] == "succeeded"


def events(text: str) -> list[dict[str, Any]]:
    found = []
    for block in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if line and not line.startswith(":"))
        if "event" in lines:
            found.append({**lines, "data": json.loads(lines["data"])})
    return found


@pytest.mark.parametrize(
    ("path", "fields", "field"),
    [
        ("/v1/denoise", {"steps": "0"}, "steps"),
        ("/v1/denoise", {"steps": "many"}, "steps"),
        ("/v1/denoise", {"noise": "300"}, "noise"),
        ("/v1/denoise", {"scale": "2"}, "scale"),
        ("/v1/denoise", {"nonsense": "2"}, "nonsense"),
        ("/v1/super-resolve", {"scale": "5"}, "scale"),
        ("/restore", {"task": "polish"}, "task"),
        ("/restore", {"task": "denoise", "exposure": "1"}, "exposure"),
        ("/restore", {"fidelity": "nan"}, "fidelity"),
        ("/v1/deblur", {}, "kernel"),
        ("/v1/deblur", {"kernel": "square:3"}, "kernel"),
        ("/v1/inpaint", {}, "mask"),
        ("/v1/dejpeg", {"keep_gps": "maybe"}, "keep_gps"),
    ],
)
def test_a_wrong_field_is_named_in_all_three_bodies(
    client: httpx.Client, picture: Picture, path: str, fields: dict[str, str], field: str
) -> None:
    body = {"image": {"b64": base64.b64encode(picture()).decode()}, **fields}
    for answer in (
        client.post(path, files={"image": picture()}, data=fields),
        client.post(path, params=fields, content=picture()),
        client.post(path, json=body),
    ):
        assert answer.status_code == 422, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["code"] == "invalid_parameter"
        assert field in [error["field"] for error in answer.json()["errors"]], answer.text
