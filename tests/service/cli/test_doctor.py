from __future__ import annotations

import json
import types
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from service.cli import doctor
from service.cli.doctor import FAILURE, OK, WARNING

Run = Callable[..., Result]


def test_versions_name_what_is_needed() -> None:
    found = {f.subject: f for f in doctor.versions()}
    assert set(doctor.NEEDED) <= found.keys()
    assert all(f.state == OK for f in found.values())
    assert "libvips" in found["pyvips"].detail


def test_a_missing_system_library_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    real = doctor.import_module

    def without_opencv(name: str) -> types.ModuleType:
        if name == "cv2":
            raise ImportError("libGL.so.1: cannot open shared object file")
        return real(name)

    monkeypatch.setattr(doctor, "import_module", without_opencv)
    (broken,) = [f for f in doctor.versions() if f.state == FAILURE]
    assert broken.subject == "opencv-python" and "libgl1" in broken.detail


def test_distributions_that_overwrite_each_other_are_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_has", lambda name: name.startswith("onnxruntime"))
    (found,) = doctor.conflicts()
    assert found.state == WARNING
    assert "onnxruntime and onnxruntime-gpu" in found.detail


def test_our_own_packages_shadow_nothing() -> None:
    assert list(doctor.shadows()) == []


def test_another_package_of_our_name_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    stranger = types.ModuleType("models")
    stranger.__file__ = "/elsewhere/models/__init__.py"
    monkeypatch.setitem(__import__("sys").modules, "models", stranger)
    (found,) = doctor.shadows()
    assert found.state == FAILURE and "/elsewhere" in found.detail


def test_the_processor_and_folders_are_described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "cores: " in next(iter(doctor.processor())).detail
    assert [f.state for f in doctor.folders()] == [OK, OK]


def test_a_check_that_breaks_is_a_failure_and_the_others_go_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError("driver\nlost")

    monkeypatch.setattr(doctor, "devices", broken)
    monkeypatch.setattr(doctor, "trial", lambda device: iter(()))
    done = run("doctor", "--json")
    findings = json.loads(done.stdout)
    assert done.exit_code == 3
    assert {"state": FAILURE, "subject": "broken", "detail": "RuntimeError: driver lost"} in findings
    assert {"temporary", "settings"} <= {finding["subject"] for finding in findings}


def test_a_sound_installation_is_found_sound(run: Run) -> None:
    done = run("doctor", "--device", "cpu")
    assert done.exit_code == 0, done.output
    assert "256x256 denoised in" in done.stdout
    assert "verified, sha256:" in done.stdout
