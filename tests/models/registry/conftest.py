"""A catalogue with one small prior in it, served by a server of this test."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from models.registry import file_sha256, places
from tests.models.loaders.openai_layout import state_dict
from tests.models.registry.weights_server import WeightsServer


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "served"
    folder.mkdir()
    with WeightsServer(folder) as started:
        yield started


@pytest.fixture
def checkpoint(server):
    """A small checkpoint of OpenAI's layout, on the server."""
    path = server.folder / "tiny.pt"
    torch.save(state_dict(), path)
    return path


@pytest.fixture
def private(tmp_path, monkeypatch):
    """The user's folder; the environment names no proxy, no mirror and nothing else that is real."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "PELLUCID_MIRRORS", "PELLUCID_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    folder = tmp_path / "private"
    monkeypatch.setenv("PELLUCID_PRIORS", str(folder))
    return folder


def entry(name: str, source: dict, files: dict[str, dict]) -> dict:
    return {
        "name": name, "family": "GuidedUNet", "tasks": ["any"], "source": source, "files": files,
        "licence": {"code": "MIT", "weights": "CC0-1.0", "commercial": "yes"}, "parameters": 1000, "native_size": 16,
        "multiple_of": 2, "sigma_min": 0.01, "sigma_max": 157.4, "channels": 3, "receptive_field": 32,
        "prediction": "epsilon", "schedule": "linear, 1000 timesteps", "citation": "nobody",
    }  # fmt: skip


@pytest.fixture
def known(tmp_path, monkeypatch, server, checkpoint, private):
    """Writes an entry of the catalogue: known(), known(sha256=None), known(url=...)."""
    catalogue = tmp_path / "catalogue"
    catalogue.mkdir()
    monkeypatch.setattr(places, "CATALOGUE", catalogue)

    def write(name: str = "tiny", *, url: str | None = None, source: dict | None = None, **facts) -> Path:
        file = {"sha256": file_sha256(checkpoint), "bytes": checkpoint.stat().st_size} | facts
        described = entry(name, source or {"url": url or server.url}, {"tiny.pt": file})
        (catalogue / f"{name}.json").write_text(json.dumps(described))
        return catalogue

    write()
    return write
