from __future__ import annotations

from pathlib import Path

import pytest

from service.cli import doctor, doctor_server
from service.protection.keys import Scope, add


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PELLUCID_DATA_DIR", str(tmp_path / "data"))
    disk_with(monkeypatch, free=2**40)


def disk_with(monkeypatch: pytest.MonkeyPatch, *, free: int) -> None:
    usage = type("Usage", (), {"free": free})
    monkeypatch.setattr(doctor_server.shutil, "disk_usage", lambda path: usage)


def found() -> dict[str, tuple[str, str]]:
    return {subject: (state, detail) for state, subject, detail in doctor_server.server()}


def test_a_machine_without_settings_could_serve(tmp_path: Path) -> None:
    assert found()["settings"][0] == "ok"
    assert found()["data folder"][0] == "ok"
    assert not (tmp_path / "data").exists(), "the doctor only looks"
    assert not {"database", "pictures", "API keys"} & set(found())


def test_a_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PELLUCID_MAX_QUEUE", "0")
    state, detail = found()["settings"]
    assert state == "failure" and "PELLUCID_MAX_QUEUE" in detail


def test_a_full_disk_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    disk_with(monkeypatch, free=2**20)
    assert found()["data folder"][0] == "warning"


def test_a_folder_of_somebody_else_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_server.os, "access", lambda path, mode: False)
    state, detail = found()["data folder"]
    assert state == "failure" and "PELLUCID_DATA_DIR" in detail


def test_a_database_is_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PELLUCID_DATABASE_URL", f"sqlite:///{tmp_path / 'jobs.db'}")
    assert found()["database"][0] == "ok"
    monkeypatch.setenv("PELLUCID_DATABASE_URL", "postgresql+psycopg://me:secret@127.0.0.1:1/none")
    state, detail = found()["database"]
    assert state == "failure" and "secret" not in detail


def test_a_place_for_pictures_is_tried_and_left_as_it_was(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PELLUCID_BLOB_URL", str(tmp_path / "blobs"))
    assert found()["pictures"][0] == "ok"
    assert not [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()]
    (tmp_path / "file").touch()
    monkeypatch.setenv("PELLUCID_BLOB_URL", str(tmp_path / "file" / "blobs"))
    assert found()["pictures"][0] == "failure"


def test_keys_are_counted_and_missing_ones_explained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PELLUCID_API_KEYS_FILE", str(tmp_path / "keys.json"))
    assert found()["API keys"][0] == "failure"
    add(tmp_path / "keys.json", "me", [Scope.RESTORE])
    assert found()["API keys"] == ("ok", f"{tmp_path / 'keys.json'}, keys: 1")


def test_the_doctor_tells_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {finding.subject for finding in doctor.server()} >= {"settings", "data folder", "descriptors"}
