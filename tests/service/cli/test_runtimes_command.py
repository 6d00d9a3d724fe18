import json
import subprocess
import sys

import onnxruntime
import pytest

from models.runtime.names import RUNTIMES
from service.cli.restoring import COMMANDS


@pytest.fixture(autouse=True)
def private_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PELLUCID_CACHE", str(tmp_path / "cache"))


def test_bench_shows_the_table_and_auto_follows_it(run, tiny_prior, tmp_path, monkeypatch):
    monkeypatch.setitem(
        __import__("models.runtime.measuring", fromlist=["CANDIDATES"]).CANDIDATES, "cpu", ("onnxruntime:fp32",)
    )
    done = run("models", "bench", f"{tiny_prior}/", "--rounds", 3, "--device", "cpu", "--json")
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    assert {row["choice"] for row in record["rows"]} == {"torch:fp32", "onnxruntime:fp32"}
    assert record["auto"] in {"torch:fp32", "onnxruntime:fp32"} and all(row["eligible"] for row in record["rows"])
    assert "preparing onnxruntime:fp32" in done.stderr
    done = run(
        "denoise", "examples/small.png", tmp_path / "out.png", "--prior", f"{tiny_prior}/", "--device", "cpu", "--json"
    )
    assert json.loads(done.stdout)["runtime"] == record["auto"], done.output
    done = run("models", "bench", f"{tiny_prior}/", "--rounds", 3, "--runtimes", "torch:fp32", "-q")
    assert done.exit_code == 0 and "auto" not in done.stdout and not done.stderr
    assert done.stdout.splitlines()[1].split()[:3][::2] == ["torch:fp32", "1.00"]


def test_a_process_that_exports_says_nothing_but_its_own(tiny_prior, tmp_path):
    command = [sys.executable, "-c", "from service.cli.main import main; main()"]
    out = tmp_path / "prior.onnx"
    done = subprocess.run(
        [*command, "models", "export", f"{tiny_prior}/", out], capture_output=True, text=True, check=True
    )
    assert out.exists() and not done.stderr


def test_export_writes_the_file_and_its_report_and_replaces_only_when_told(run, tiny_prior, tmp_path):
    out = tmp_path / "prior.onnx"
    done = run("models", "export", f"{tiny_prior}/", out)
    assert done.exit_code == 0, done.output
    report = json.loads((tmp_path / "prior.onnx.json").read_text())
    assert report["sha256"] in done.stdout
    session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    assert [i.name for i in session.get_inputs()] == ["x", "sigma"]
    again = run("models", "export", f"{tiny_prior}/", out)
    assert again.exit_code == 2 and "--overwrite" in again.stderr


def test_an_unknown_runtime_is_refused_with_the_names_of_all(run, tiny_prior, tmp_path):
    done = run("denoise", "examples/small.png", tmp_path / "out.png", "--prior", tiny_prior, "--runtime", "magic")
    assert done.exit_code == 3 and all(name in done.stderr for name in RUNTIMES)
    assert not (tmp_path / "out.png").exists()


def test_the_help_names_every_runtime():
    (option,) = (p for p in COMMANDS[0].params if p.name == "runtime")
    assert all(name in option.help for name in RUNTIMES)


def test_options_that_do_not_go_together_are_refused_before_any_work(run, tmp_path):
    for options in (
        ("--precision", "int8"), ("--calibration", tmp_path), ("--tile", 256), ("--max-batch", 4),
    ):  # fmt: skip
        assert run("models", "export", "photo", tmp_path / "out.onnx", *options).exit_code == 2


def test_an_engine_without_tensorrt_is_refused_with_what_is_missing(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    done = run("models", "export", "photo", tmp_path / "out.engine", "--format", "tensorrt", "--precision", "fp16")
    assert done.exit_code == 3 and "pip install tensorrt" in done.stderr


def test_a_server_is_not_started_with_an_unknown_runtime(run, monkeypatch):
    monkeypatch.setenv("PELLUCID_RUNTIME", "warp")
    done = run("serve", "--port", 0)
    assert done.exit_code == 2 and "PELLUCID_RUNTIME" in done.stderr and "openvino" in done.stderr
