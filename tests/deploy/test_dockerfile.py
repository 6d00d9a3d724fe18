import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import dockerfile as reader
import pytest
from packaging.requirements import Requirement

from service.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
TARGETS = ("cpu", "gpu")


def test_the_image_built_by_default_is_the_cpus(dockerfile):
    assert dockerfile.stages[-1].name == "cpu"


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_runs_as_a_user_whom_kubernetes_can_tell_from_root(dockerfile, target):
    uid, gid = dockerfile.effective(target, "USER").split(":")
    assert int(uid) > 0 and int(gid) > 0


@pytest.mark.parametrize("target", TARGETS)
def test_the_health_check_asks_where_the_server_listens(dockerfile, target):
    words = reader.command(dockerfile.effective(target, "HEALTHCHECK").split("CMD", 1)[1])
    port = dockerfile.effective(target, "EXPOSE")
    assert f"http://127.0.0.1:{port}/livez" in words[-1]
    assert int(port) == Settings.model_fields["port"].default


@pytest.mark.parametrize("target", TARGETS)
def test_signals_reach_the_server(dockerfile, target):
    assert reader.command(dockerfile.effective(target, "ENTRYPOINT")) == ["pellucid"]
    assert reader.command(dockerfile.effective(target, "CMD")) == ["serve"]


@pytest.mark.parametrize("target", TARGETS)
def test_a_final_image_has_no_build_tools(dockerfile, target):
    installed = " ".join(
        item.rest for stage in dockerfile.chain(target) for item in stage.instructions if item.word == "RUN"
    )
    assert not re.search(r"\b(pip|venv|gcc|g\+\+|make|git|curl|build-essential|python3-dev)\b", installed)
    build = next(item.rest for item in dockerfile.stage(target).instructions if "--from=" in item.rest)
    source = dockerfile.stage(build.split("--from=")[1].split()[0])
    assert source.last("RUN").endswith("pip uninstall --yes pip")


def test_variables_are_settings(dockerfile):
    known = {f"PELLUCID_{name.upper()}" for name in Settings.model_fields}
    for stage in dockerfile.stages:
        for item in stage.instructions:
            if item.word == "ENV":
                assert {name for name in reader.pairs(item.rest) if name.startswith("PELLUCID_")} <= known


def test_the_base_image_is_pinned(dockerfile):
    assert {stage.base for stage in dockerfile.stages} & {dockerfile.arguments["BASE"]}
    assert re.fullmatch(r"debian:\d+\.\d+-slim", dockerfile.arguments["BASE"])


def test_the_context_has_what_is_copied_and_no_more(dockerfile):
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout")
    files = reader.seen(done.stdout.splitlines(), (ROOT / ".dockerignore").read_text())
    copied = [
        source
        for stage in dockerfile.stages
        for item in stage.instructions
        if item.word == "COPY" and not item.rest.startswith("--from")
        for source in item.rest.split()[:-1]
    ]
    for source in copied:
        assert any(name == source or name.startswith(f"{source}/") for name in files), source
    for name in files:
        assert any(name == source or name.startswith(f"{source}/") for source in copied), name
    assert any(name.endswith("diffusion_pytorch_model.safetensors") for name in files)


def test_dockerignore_decides_by_the_last_pattern_that_fits():
    rules = "*\n!models\n!deploy/constraints.txt\n**/__pycache__\n"
    files = [
        "models/a.py",
        "models/weights/w",
        "models/__pycache__/a.pyc",
        "deploy/x.py",
        "deploy/constraints.txt",
        "k",
    ]
    assert reader.seen(files, rules) == ["models/a.py", "models/weights/w", "deploy/constraints.txt"]


def test_what_is_pinned_is_what_the_project_needs():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = {}
    for line in (ROOT / "deploy" / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, _, version = line.partition("==")
            pinned[_normal(name)] = version
    assert pinned
    for text in project["dependencies"]:
        requirement = Requirement(text)
        # What is new since the images were last proved is not pinned yet.
        version = pinned.get(_normal(requirement.name))
        assert version is None or requirement.specifier.contains(version, prereleases=True), text


def test_extras_that_are_installed_exist(dockerfile, extras):
    named = set()
    for stage in dockerfile.stages:
        for item in stage.instructions:
            if item.word == "ARG" and item.rest.startswith("EXTRAS="):
                named |= set(filter(None, item.rest.partition("=")[2].strip('"').split(",")))
            if item.word == "RUN":
                named |= set(re.findall(r'"\.\[(\w+)\]"', item.rest))
    assert named <= extras


def test_hadolint_finds_nothing():
    program = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:/usr/bin:/usr/local/bin")
    if program is None:
        pytest.skip("hadolint is not installed")
    done = subprocess.run(
        [program, "--config", ROOT / ".hadolint.yaml", ROOT / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_a_dockerfile_that_uses_something_else_is_refused():
    with pytest.raises(ValueError, match="ONBUILD"):
        reader.parse("FROM debian:13.8-slim\nONBUILD RUN true\n")


def _normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()
