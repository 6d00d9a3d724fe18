"""A worker finds out which runtime is the fastest, once on a machine."""

from __future__ import annotations

import json
import logging
import threading
from pathlib import Path

import httpx
import pytest

from models.registry import open_prior
from models.runtime import measuring
from service.worker import benching
from service.worker.benching import find_runtime
from service.worker.config import WorkerConfig
from service.worker.priors import Priors
from tests.serving import ROOT, serving

CONFIG = WorkerConfig("cpu", "", prior="tiny", bench=True, threads=1)


@pytest.fixture(autouse=True)
def places(tmp_path: Path, tiny_priors: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PELLUCID_PRIORS", str(tiny_priors))
    monkeypatch.setenv("PELLUCID_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def measurements(cache: Path) -> list[Path]:
    return list((cache / "measurements").glob("*.json"))


def test_what_was_found_is_what_the_worker_runs(places: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert Priors(CONFIG).get(None).runtime.startswith("torch")
    find_runtime(CONFIG)
    (path,) = measurements(places)
    found = json.loads(path.read_text())
    assert len(found["rows"]) >= 3 and found["chosen"] in {row["choice"] for row in found["rows"] if row["eligible"]}
    assert f"the fastest runtime here is {found['chosen']}" in caplog.text
    assert Priors(CONFIG).get(None).runtime == found["chosen"]

    # Known now: nothing is measured again.
    path.write_text(json.dumps(found | {"chosen": "onnxruntime:fp32"}))
    find_runtime(CONFIG)
    assert "the fastest runtime here is onnxruntime:fp32" in caplog.text


def test_workers_that_start_together_measure_once(
    places: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    measured: list[str] = []

    def measure(*_: object, **__: object) -> list[measuring.Measured]:
        measured.append("once")
        return [measuring.Measured("torch:fp32", seconds=1.0, eligible=True)]

    monkeypatch.setattr(measuring, "measure", measure)
    loaded, found = open_prior("tiny"), list[str | None]()
    threads = [
        threading.Thread(target=lambda: found.append(measuring.find(loaded.network, loaded.info))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert measured == ["once"] and found == ["torch:fp32"] * 3


@pytest.mark.parametrize(("cache", "prior", "why"), [("file", "tiny", "PELLUCID_CACHE"), ("folder", "none", "none")])
def test_what_was_not_found_out_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, cache: str, prior: str, why: str
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PELLUCID_CACHE", str(tmp_path / cache))
    find_runtime(WorkerConfig("cpu", "", prior=prior, bench=True))
    assert "was not found out" in caplog.text and why in caplog.text


def test_a_start_does_not_wait_for_ever(
    places: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(benching, "LIMIT_SECONDS", 0.2)
    find_runtime(CONFIG)
    assert "it took more than" in caplog.text and not measurements(places)


def test_a_runtime_that_was_asked_for_is_not_looked_for(places: Path) -> None:
    find_runtime(WorkerConfig("cpu", "", prior="tiny", bench=True, runtime="torch"))
    assert not places.exists()


def test_a_server_is_ready_when_it_knows(tmp_path: Path, places: Path, tiny_priors: Path) -> None:
    settings = {"PELLUCID_BENCH": "true", "PELLUCID_CACHE": str(places)}
    with serving(tmp_path, tiny_priors, settings) as server:
        (path,) = measurements(places)
        picture = (ROOT / "examples" / "small.png").read_bytes()
        accept = {"Accept": "application/json"}
        job = httpx.post(f"{server.url}/v1/denoise", content=picture, headers=accept, timeout=60).json()
    assert job["effective"]["runtime"] == json.loads(path.read_text())["chosen"]
    assert "the fastest runtime here is" in server.log.read_text()
