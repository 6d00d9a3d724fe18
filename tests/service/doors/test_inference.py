"""The Open Inference Protocol's health and metadata, asked for by Triton's client."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest
from tritonclient.http import InferenceServerClient
from tritonclient.utils import InferenceServerException

import service
from tests.serving import Server


@pytest.fixture
def triton(real_server: Server) -> Iterator[InferenceServerClient]:
    made = InferenceServerClient(urlsplit(real_server.url).netloc)
    yield made
    made.close()


def test_the_server_lives_is_ready_and_says_what_it_is(triton: InferenceServerClient) -> None:
    assert triton.is_server_live() and triton.is_server_ready()
    assert triton.get_server_metadata() == {"name": "pellucid", "version": service.__version__, "extensions": []}


def test_an_installed_prior_is_a_model(triton: InferenceServerClient) -> None:
    for name in ("tiny", "photo"):
        assert triton.is_model_ready(name)
        found = triton.get_model_metadata(name)
        assert found == {"name": name, "platform": "pellucid", "inputs": [], "outputs": []}


def test_an_unknown_model_is_told_in_the_protocol_s_words(triton: InferenceServerClient) -> None:
    assert not triton.is_model_ready("nosuch")
    with pytest.raises(InferenceServerException, match=r"no such prior; known are .*tiny") as caught:
        triton.get_model_metadata("nosuch")
    assert caught.value.status() == "404"


def test_models_need_a_key_where_the_server_does_and_health_does_not(locked: tuple[Server, str]) -> None:
    server, key = locked
    made = InferenceServerClient(urlsplit(server.url).netloc)
    try:
        assert made.is_server_live() and made.is_server_ready()
        assert not made.is_model_ready("tiny")
        with pytest.raises(InferenceServerException, match="an API key is needed"):
            made.get_server_metadata()
        headers = {"Authorization": f"Bearer {key}"}
        assert made.is_model_ready("tiny", headers=headers)
        assert made.get_server_metadata(headers=headers)["name"] == "pellucid"
    finally:
        made.close()


def test_problems_elsewhere_are_as_they_were(real_server: Server) -> None:
    problem = httpx.get(f"{real_server.url}/v1/models/nosuch").json()
    assert "error" not in problem and problem["code"] == "not_found"
    assert httpx.get(f"{real_server.url}/v2/models/nosuch").json()["error"] == problem["detail"]


def test_everything_is_described(real_server: Server) -> None:
    document = httpx.get(f"{real_server.url}/openapi.json").json()
    for path in ("/v2", "/v2/models/{name}", "/v2/models/{name}/ready"):
        operation = document["paths"][path]["get"]
        assert operation["security"] == [{}, {"key": []}] and operation["tags"] == ["Open Inference Protocol"]
    assert "security" not in document["paths"]["/v2/health/ready"]["get"]
