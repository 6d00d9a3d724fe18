"""Errors: RFC 9457 with a closed, documented list of codes, and nothing in them that is not the client's business."""

from __future__ import annotations

import base64
import errno
import sqlite3

import pytest

from service.http.errors import MEANING
from service.jobs import database
from service.problems import STATUS, Code


def test_every_code_has_a_status_and_a_meaning():
    assert set(STATUS) == set(MEANING) == set(Code)
    assert all(400 <= status < 600 for status in STATUS.values())


@pytest.mark.parametrize("code", Code)
def test_the_type_of_a_problem_is_an_address_that_explains_it(server, code):
    answer = server.client.get(f"/problems/{code}")
    assert answer.status_code == 200
    assert answer.json() == {
        "code": code,
        "title": answer.json()["title"],
        "status": STATUS[code],
        "meaning": MEANING[code],
    }


def test_an_unknown_code_is_404(server):
    assert server.client.get("/problems/nothing").json()["code"] == "not_found"


def test_the_document_has_the_closed_list_and_an_example_of_each(server):
    document = server.client.get("/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    schema = document["components"]["schemas"]["ProblemDetails"]["properties"]["code"]
    listed = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    assert set(listed["enum"]) == {code.value for code in Code}
    shown = {
        name
        for path in document["paths"].values()
        for operation in path.values()
        for answer in operation["responses"].values()
        for name in answer.get("content", {}).get("application/problem+json", {}).get("examples", {})
    }
    # 405 is of paths without an operation; no operation can document it.
    assert shown == {code.value for code in Code} - {"method_not_allowed"}


def test_every_operation_documents_what_a_gate_may_say(server):
    document = server.client.get("/openapi.json").json()
    for path, item in document["paths"].items():
        if not path.startswith("/v1/") and path != "/restore":
            continue
        for operation in item.values():
            assert {"401", "403", "408", "429", "503"} <= set(operation["responses"]), path
            for answer in operation["responses"].values():
                assert "X-Request-Id" in answer["headers"]
            for status in ("429", "503"):
                assert "Retry-After" in operation["responses"][status]["headers"]


def test_a_path_and_a_method_that_are_none(server):
    missing = server.client.get("/v1/nothing")
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
    wrong = server.client.put("/v1/jobs")
    assert (wrong.status_code, wrong.json()["code"]) == (405, "method_not_allowed")
    assert wrong.headers["allow"] == "GET"
    assert server.client.get("/restore").headers["allow"] == "POST"
    assert server.client.post("/v1/jobs/", content=b"").status_code == 404


def test_a_mistake_of_the_server_says_nothing_but_the_request_id(serve, monkeypatch, caplog):
    with serve() as server:

        def broken(*_: object, **__: object) -> None:
            raise RuntimeError("a secret of the server")

        monkeypatch.setattr(server.service.store, "list", broken)
        answer = server.client.get("/v1/jobs", headers={"X-Request-Id": "find-me"})
        assert (answer.status_code, answer.json()["code"]) == (500, "internal")
        assert "find-me" in answer.json()["detail"]
        assert "secret" not in answer.text and "Traceback" not in answer.text
        assert "a secret of the server" in caplog.text


def test_a_database_that_another_process_keeps_locked(serve, monkeypatch, picture, caplog):
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.2)
    with serve() as server:
        other = sqlite3.connect(server.settings.data_dir / "pellucid.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        refused = server.client.post("/v1/denoise", content=picture())
        assert (refused.status_code, refused.json()["code"]) == (503, "storage_unavailable")
        assert refused.headers["retry-after"] == "10"
        assert "database is locked" in caplog.text and "locked" not in refused.text
        assert server.client.get("/v1/jobs").json()["data"] == []  # who reads does not wait for who writes
        other.rollback()
        other.close()
        assert server.client.post("/v1/denoise", content=picture()).status_code == 200


def test_a_full_disk(serve, monkeypatch, picture):
    with serve() as server:

        def full(*_: object) -> str:
            raise OSError(errno.ENOSPC, "No space left on device", "/a/path/of/the/server")

        with monkeypatch.context() as fault:
            fault.setattr(server.service.blobs, "put", full)
            refused = server.client.post("/v1/denoise", content=picture())
        assert (refused.status_code, refused.json()["code"]) == (503, "storage_unavailable")
        assert "path" not in refused.text
        assert server.client.post("/v1/denoise", content=picture()).status_code == 200


def test_models_are_listed_with_their_facts(server):
    listed = server.client.get("/v1/models").json()["data"]
    assert "photo" in {model["name"] for model in listed}
    photo = server.client.get("/v1/models/photo").json()
    assert photo in listed
    assert photo["digest"].startswith("sha256:")
    assert photo["licence"] and photo["tasks"]
    assert server.client.get("/v1/models/nobody").json()["code"] == "not_found"


def test_the_document_knows_json_schemas_words_only(server):
    """A bound that pydantic writes as "ge" bounds nothing."""

    def keys(value: object) -> set[str]:
        if isinstance(value, dict):
            return set(value) | {key for inner in value.values() for key in keys(inner)}
        return {key for inner in value for key in keys(inner)} if isinstance(value, list) else set()

    document = server.client.get("/openapi.json").json()
    assert not {"ge", "gt", "le", "lt"} & keys(document)
    steps = document["components"]["schemas"]["DenoiseRequest"]["properties"]["steps"]["anyOf"][0]
    assert (steps["minimum"], steps["maximum"]) == (1, 1000)


@pytest.mark.parametrize("value", [7.0, 7])
def test_seven_point_zero_is_an_integer_to_json(server, picture, value):
    body = {"image": {"b64": base64.b64encode(picture()).decode()}, "seed": value, "samples": 1.0}
    assert server.client.post("/v1/denoise", json=body).json()["effective"]["seed"] == 7
    body["seed"] = 7.5
    assert server.client.post("/v1/denoise", json=body).status_code == 422
