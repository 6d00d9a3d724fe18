"""R19: an offline server opens no outside connection; weights that are not the registered ones are refused."""

from __future__ import annotations

import base64
import shutil
import socket
from contextlib import suppress

import pytest

from models.errors import CorruptWeightsError
from models.registry import WEIGHTS
from service.worker.config import WorkerConfig
from service.worker.priors import Priors
from tests.service.http import conftest as http

serve, picture = http.serve, http.picture


def outside(network):
    """Look-ups of names, and connections that leave this machine."""
    found = []
    for event, arguments in network:
        host = arguments[0][0] if event == "socket.connect" and isinstance(arguments[0], tuple) else arguments[0]
        if str(host) not in ("127.0.0.1", "localhost", "::1") and not str(host).startswith("/"):
            found.append((event, arguments))
    return found


def test_an_offline_server_talks_to_nobody(serve, picture, network):
    with serve(
        offline=True, url_sources=True, webhook_secret=http.SECRET, allowed_addresses="203.0.113.0/24"
    ) as server:
        for url in ("https://example.com/a.png", "https://203.0.113.7/a.png", "https://8.8.8.8/a.png"):
            answer = server.client.post("/restore", json={"image": {"url": url}, "task": "denoise"})
            assert (answer.status_code, answer.json()["code"]) == (422, "url_refused")
        body = {"image": {"b64": base64.b64encode(picture()).decode()}}
        refused = server.client.post("/v1/denoise", json={**body, "webhook": "https://203.0.113.7/hook"})
        assert (refused.status_code, refused.json()["code"]) == (422, "url_refused")
        assert server.client.post("/v1/denoise", json=body).json()["state"] == "succeeded"
        for path in ("/", "/docs", "/openapi.json", "/v1/models", "/metrics", "/readyz?verbose"):
            assert server.client.get(path).status_code == 200
    assert outside(network) == []


def test_the_watch_sees_what_it_should(network):
    with suppress(OSError), socket.socket() as probe:
        probe.settimeout(0.01)
        probe.connect(("203.0.113.1", 9))
    assert outside(network)


@pytest.mark.parametrize("damage", ["a bit", "the end"])
def test_a_worker_refuses_a_weight_file_that_is_not_the_registered_one(tmp_path, monkeypatch, damage):
    shutil.copytree(WEIGHTS / "photo", tmp_path / "mine")
    shutil.copy(WEIGHTS / "photo.json", tmp_path / "mine.json")
    (tmp_path / "mine.json").write_text((tmp_path / "mine.json").read_text().replace('"photo"', '"mine"', 1))
    tmp_path.chmod(0o700)
    monkeypatch.setenv("PELLUCID_PRIORS", str(tmp_path))
    assert Priors(WorkerConfig("cpu", "")).get("mine").info.name == "mine"
    (file,) = (tmp_path / "mine").glob("*.safetensors")
    data = bytearray(file.read_bytes())
    if damage == "a bit":
        data[len(data) // 2] ^= 1
    else:
        del data[-4096:]
    file.write_bytes(data)
    with pytest.raises(CorruptWeightsError, match="sha256"):
        Priors(WorkerConfig("cpu", "")).get("mine")
