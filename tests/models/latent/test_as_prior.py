"""Latent upscalers in the genuine layouts, chosen by name as any prior: library, command line, worker, REST."""

from __future__ import annotations

import io
import json

import pytest
from click.testing import CliRunner
from PIL import Image

from models.latent.projection import shrink
from restore import Restorer
from restore.errors import RuntimeUnavailableError
from restore.images import decode
from restore.prior import list_priors, load_prior
from service.cli.main import cli
from service.worker.config import WorkerConfig
from service.worker.priors import EnlargingPrior, Priors
from tests.models.latent.conftest import install
from tests.service.http.conftest import running, threaded


@pytest.fixture(params=["ldm", "stable_diffusion"])
def folder(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def private(tmp_path, monkeypatch):
    monkeypatch.setenv("PELLUCID_PRIORS", str(tmp_path / "priors"))
    (tmp_path / "priors").mkdir(mode=0o700)
    return tmp_path / "priors"


@pytest.fixture
def installed(folder, private):
    """Both, under the name of mine."""
    install(folder, private, "mine")
    return private


@pytest.fixture
def picture(small, tmp_path):
    """A small photograph as a file."""
    pixels = ((small[0].permute(1, 2, 0) + 1) * 127.5).round().byte().numpy()
    Image.fromarray(pixels).save(tmp_path / "small.png")
    return tmp_path / "small.png"


def agrees(large, picture):
    """Whether a large file shrinks to the small one."""
    return float((shrink(decode(large).image) - decode(picture).image).abs().mean()) < 1.5 / 255


def invoke(*arguments):
    return CliRunner().invoke(cli, [str(a) for a in arguments], prog_name="pellucid")


def test_the_library_loads_it_by_name(installed, picture, tmp_path):
    result = Restorer.from_pretrained("mine", device="cpu").super_resolve(picture, steps=3)
    result.save(tmp_path / "large.png")
    assert agrees(tmp_path / "large.png", picture)
    report = result.report
    assert (report["prior"], report["nfe"], report["runtime"]) == ("mine", 3, "torch:fp32")
    sha256 = [entry["sha256"] for entry in json.loads((installed / "mine.json").read_text())["files"].values()]
    assert report["digest"].removeprefix("sha256:") in sha256
    assert "mine" not in list_priors()
    with pytest.raises(RuntimeUnavailableError, match="torch in float32 only"):
        load_prior("mine", runtime="onnxruntime")


def test_the_command_line_enlarges_with_it(installed, picture, tmp_path):
    done = invoke(
        "super-resolve", picture, tmp_path / "large.png", "--prior", "mine", "--steps", 2, "--device", "cpu", "--json"
    )
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert (report["prior"], report["nfe"], report["digest"][:7]) == ("mine", 2, "sha256:")
    assert agrees(tmp_path / "large.png", picture)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("denoise",), "it does no denoise"),
        (("restore",), "it does no auto"),
        (("super-resolve", "--scale", "2"), "not 2"),
        (("super-resolve", "--noise", "5"), "noise is 0"),
        (("super-resolve", "--fidelity", "1"), "fidelity is 0"),
        (("super-resolve", "--runtime", "onnxruntime"), "torch in float32 only"),
        (("super-resolve", "--tile", "21"), "multiple of"),
    ],
)
def test_the_command_line_says_what_it_can_do(ldm, private, picture, tmp_path, arguments, said):
    install(ldm, private, "mine")
    task, *options = arguments
    done = invoke(task, picture, tmp_path / "large.png", "--prior", "mine", "--device", "cpu", *options)
    assert done.exit_code in (2, 3) and said in done.output and not (tmp_path / "large.png").exists(), done.output
    assert done.output.count("\n") == 1


def test_a_folder_that_nobody_installed_can_be_tried(folder, picture, tmp_path):
    done = invoke("super-resolve", picture, tmp_path / "l.png", "--prior", folder, "--steps", 1, "--device", "cpu")
    assert done.exit_code == 0, done.output
    assert agrees(tmp_path / "l.png", picture)


def test_timing_it_as_a_denoiser_is_refused(installed):
    done = invoke("bench", "--prior", "mine", "--device", "cpu")
    assert done.exit_code == 2 and "only enlarges" in done.output


def test_a_worker_keeps_it_within_its_memory(ldm, private):
    for name in ("mine", "other"):
        install(ldm, private, name)
    priors = Priors(WorkerConfig("cpu", "", prior_memory=1_500_000))
    first = priors.get("mine")
    assert isinstance(first, EnlargingPrior) and priors.get("mine") is first
    assert 750_000 < first.enlarger.weight_bytes < 1_500_000
    priors.get("other")
    assert priors.get("mine") is not first


def test_rest_enlarges_with_it_and_refuses_what_it_cannot_do(ldm, private, picture, tmp_path, monkeypatch):
    install(ldm, private, "mine")
    monkeypatch.setattr(threaded, "LOADER", "")
    data = picture.read_bytes()
    with running(tmp_path / "server") as server:
        post = server.client.post
        done = post("/v1/super-resolve", content=data, params={"prior": "mine", "steps": 2, "seed": 5})
        assert done.status_code == 200, done.text
        with Image.open(io.BytesIO(done.content)) as large:
            assert large.size == (112, 144)
        assert agrees(done.content, picture)
        digest = server.client.get("/v1/models/mine").json()["digest"]
        assert done.headers["Pellucid-Model"] == f"mine@{digest}" and done.headers["Pellucid-Seed"] == "5"
        effective = server.client.get(f"/v1/jobs/{done.headers['Pellucid-Job']}").json()["effective"]
        assert (effective["prior"], effective["nfe"], effective["digest"]) == ("mine", 2, digest)
        again = post("/restore", content=data, params={"task": "super-resolve", "prior": "mine", "steps": 2, "seed": 5})
        assert again.content == done.content
        for path, given, field, said in (
            ("/v1/denoise", {}, "prior", "it does no denoise"),
            ("/restore", {}, "prior", "it does no auto"),
            ("/v1/super-resolve", {"scale": 2}, "scale", "not 2"),
            ("/v1/super-resolve", {"noise": 9}, "noise", "noise is 0"),
            ("/v1/super-resolve", {"fidelity": 1}, "fidelity", "fidelity is 0"),
        ):
            refused = post(path, content=data, params={"prior": "mine", **given})
            body = refused.json()
            assert (refused.status_code, body["code"], body["errors"][0]["field"]) == (422, "invalid_parameter", field)
            assert said in body["detail"] and "only enlarges, 4 times" in body["detail"]


def test_adding_a_folder_says_how_it_is_used_instead(folder, private):
    done = invoke("models", "add", folder, "--name", "mine")
    assert done.exit_code == 3 and f"--prior {folder}/" in done.output and not list(private.glob("mine*"))
