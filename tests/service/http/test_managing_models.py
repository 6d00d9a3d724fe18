"""Fetching and removing priors through REST, with an operator's key, from a real server of weights."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import torch

from service.protection.keys import Scope, add
from tests.models.registry.conftest import checkpoint, known, private, server  # noqa: F401
from tests.models.registry.test_add import OPTIONS, trained
from tests.service.http.conftest import SECRET, memory, serving

pytestmark = pytest.mark.usefixtures("known")


@pytest.fixture
def keys(tmp_path: Any) -> dict[str, dict[str, str]]:
    file = tmp_path / "keys.json"
    made = {
        "operator": add(file, "operator", [Scope.ADMIN, Scope.RESTORE, Scope.JOBS]),
        "user": add(file, "user", [Scope.RESTORE, Scope.JOBS]),
    }
    return {name: {"Authorization": f"Bearer {key}"} for name, key in made.items()}


def running(tmp_path: Any, tiny_prior: Any, **given: Any) -> Any:
    from service.app import create_app
    from service.settings import Settings

    settings = Settings(data_dir=tmp_path / "data", webhook_secret=SECRET, **given)
    return serving(create_app(settings, memory.MemoryService(tiny_prior), memory.MemoryIntake()))


@pytest.fixture
def api(tmp_path: Any, tiny_prior: Any, keys: Any) -> Iterator[httpx.Client]:
    with (
        running(tmp_path, tiny_prior, api_keys_file=tmp_path / "keys.json", auth="required") as url,
        httpx.Client(base_url=url, headers=keys["operator"], timeout=30) as client,
    ):
        yield client


def settled(api: httpx.Client, name: str = "tiny") -> dict[str, Any]:
    deadline = time.monotonic() + 30
    while (model := api.get(f"/v1/models/{name}").json())["state"] in ("pulling", "measuring"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return dict(model)


def test_a_prior_is_pulled_listed_and_removed(api: httpx.Client, server: Any, private: Any) -> None:  # noqa: F811
    assert api.get("/v1/models/tiny").json()["state"] == "available"
    assert [m["name"] for m in api.get("/v1/models").json()["data"]] == ["photo"]
    rows = {m["name"]: m["state"] for m in api.get("/v1/models", params={"known": True}).json()["data"]}
    assert rows == {"photo": "installed", "tiny": "available"}
    server.open.clear()
    answer = api.post("/v1/models", json={"name": "tiny", "measure": False})
    assert answer.status_code == 202 and answer.headers["Location"] == "/v1/models/tiny"
    assert answer.json()["state"] == "pulling"
    assert api.post("/v1/models", json={"name": "tiny", "measure": False}).status_code == 202
    server.open.set()
    model = settled(api)
    assert model["state"] == "installed" and model["digest"].startswith("sha256:") and len(server.requests) == 1
    assert model["measured"] is False and model["error"] is None
    assert api.post("/v1/models", json={"name": "tiny", "measure": False}).status_code == 200
    assert "tiny" in [m["name"] for m in api.get("/v1/models").json()["data"]]
    assert api.delete("/v1/models/tiny").status_code == 204
    assert not (private / "tiny").exists() and api.get("/v1/models/tiny").json()["state"] == "available"
    assert api.delete("/v1/models/tiny").json()["code"] == "not_found"


def test_a_pull_that_fails_says_so_and_can_be_tried_again(api: httpx.Client, server: Any) -> None:  # noqa: F811
    server.corrupt = True
    api.post("/v1/models", json={"name": "tiny"})
    model = settled(api)
    assert (model["state"], model["error"]) == ("failed", "corrupt_weights")
    server.corrupt = False
    api.post("/v1/models", json={"name": "tiny", "measure": False})
    assert settled(api)["state"] == "installed"


def test_what_was_fetched_is_measured_and_can_be_used_meanwhile(
    api: httpx.Client,
    request: pytest.FixtureRequest,
    private: Any,  # noqa: F811
) -> None:
    write, checkpoint = request.getfixturevalue("known"), request.getfixturevalue("checkpoint")  # noqa: F811
    torch.save(trained("linear", steps=60), checkpoint)
    file = write() / "tiny.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"options": OPTIONS.given(), "native_size": 32}))
    assert api.post("/v1/models", json={"name": "tiny"}).status_code == 202
    seen = set()
    deadline = time.monotonic() + 60
    while (model := api.get("/v1/models/tiny").json())["state"] in ("pulling", "measuring"):
        seen.add(model["state"])
        assert time.monotonic() < deadline and (model["measuring"] is None) == (model["state"] == "pulling")
        time.sleep(0.02)
    assert (model["state"], model["error"], model["measured"], model["measuring"]) == ("installed", None, True, None)
    assert "measuring" in seen and (private / "tiny" / "error_table.json").is_file()
    assert set(model["scores"]["self-test"]) == {"10", "25", "50", "100"}
    assert api.post("/v1/models", json={"name": "tiny"}).status_code == 200


def test_one_that_does_not_denoise_is_there_and_says_so(api: httpx.Client) -> None:
    api.post("/v1/models", json={"name": "tiny"})
    model = settled(api)
    assert (model["state"], model["error"], model["measured"]) == ("installed", "self_test", False)
    assert api.post("/v1/models", json={"name": "tiny"}).json()["state"] == "measuring"
    assert api.delete("/v1/models/tiny").status_code == 204
    assert settled(api)["state"] == "available"


def test_deleting_stops_a_pull(api: httpx.Client, server: Any, private: Any) -> None:  # noqa: F811
    server.pause = 0.3
    server.open.clear()
    api.post("/v1/models", json={"name": "tiny"})
    while not server.requests:
        time.sleep(0.01)
    server.open.set()
    assert api.delete("/v1/models/tiny").status_code in (204, 404)
    assert settled(api)["state"] == "available" and not (private / "tiny.json").exists()


def test_only_an_operators_key_may(api: httpx.Client, keys: Any, server: Any) -> None:  # noqa: F811
    for headers in (keys["user"], {"Authorization": "Bearer no"}):
        for answer in (
            api.post("/v1/models", json={"name": "tiny"}, headers=headers),
            api.delete("/v1/models/photo", headers=headers),
        ):
            assert answer.status_code in (401, 403), answer.text
    assert not server.requests


def test_without_keys_nobody_may(tmp_path: Any, tiny_prior: Any, server: Any) -> None:  # noqa: F811
    with running(tmp_path, tiny_prior) as url, httpx.Client(base_url=url) as client:
        assert client.post("/v1/models", json={"name": "tiny"}).json()["code"] == "forbidden"
        assert client.delete("/v1/models/photo").json()["code"] == "forbidden"
    assert not server.requests


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"content": b"{"}, 400, "malformed_request"),
        ({"json": {}}, 422, "invalid_parameter"),
        ({"json": {"name": "../x"}}, 422, "invalid_parameter"),
        ({"json": {"name": "nobody"}}, 422, "unknown_prior"),
        ({"json": {"name": "tiny", "colour": 1}}, 422, "invalid_parameter"),
        ({"content": b"x" * 5_000_000}, 413, "too_large"),
        ({"data": {"name": "tiny"}}, 415, "unsupported_media_type"),
    ],
)
def test_bad_requests(api: httpx.Client, body: Any, status: int, code: str) -> None:
    headers = {"Content-Type": "application/json"} if "content" in body else {}
    answer = api.post("/v1/models", headers=headers, **body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_what_came_with_the_server_stays(api: httpx.Client) -> None:
    assert api.delete("/v1/models/photo").json()["code"] == "prior_protected"
    assert api.get("/v1/models/photo").json()["state"] == "installed"


def test_an_offline_server_fetches_nothing(tmp_path: Any, tiny_prior: Any, keys: Any, server: Any) -> None:  # noqa: F811
    with (
        running(tmp_path, tiny_prior, api_keys_file=tmp_path / "keys.json", auth="required", offline=True) as url,
        httpx.Client(base_url=url, headers=keys["operator"]) as client,
    ):
        answer = client.post("/v1/models", json={"name": "tiny"})
        assert (answer.status_code, answer.json()["code"]) == (409, "offline")
    assert not server.requests
