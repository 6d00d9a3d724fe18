"""The same commands on a server: a real one, in a process of its own."""

from __future__ import annotations

import io
import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from pellucid_client import Client
from PIL import Image

from tests.serving import Server, environment, serving

Run = Callable[..., Result]
Picture = Callable[..., Path]
Start = Callable[[Sequence[object]], subprocess.Popen[bytes]]


@pytest.fixture
def remote(run: Run, real_server: Server) -> Run:
    """The program with --server."""

    def call(*arguments: object, input: bytes | None = None) -> Result:
        return run("--server", real_server.url, *arguments, input=input)

    return call


@pytest.fixture
def local(run: Run, tiny_priors: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The program with the server's prior on this machine."""
    monkeypatch.setenv("PELLUCID_PRIORS", str(tiny_priors))

    def call(*arguments: object) -> Result:
        return run(*arguments, "--prior", "tiny", "--device", "cpu")

    return call


def values(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.mark.parametrize(
    "arguments",
    [
        ["denoise", "--noise", 20, "--seed", 3],
        ["denoise", "--fidelity", 0, "--steps", 3, "--strength", 0.7],
        ["super-resolve", "--scale", 2, "--steps", 2],
        ["low-light-enhance", "--exposure", 1],
        ["deblur", "--kernel", "gaussian:1", "--steps", 2, "--noise", 3],
        ["deblur", "--kernel", "KERNEL.npy", "--steps", 2, "--noise", 3],
        ["deblur", "--kernel", "KERNEL.png", "--steps", 2, "--noise", 3],
        ["inpaint", "--mask", "MASK.png", "--steps", 3],
        ["inpaint", "--mask", "MASK.npy", "--steps", 3],
        ["colorize", "--steps", 2],
        ["dejpeg", "--quality", 30, "--steps", 2],
        ["restore"],
        ["restore", "--task", "super-resolve", "--scale", 3, "--steps", 2],
    ],
    ids=str,
)
def test_every_task_gives_the_picture_that_this_machine_gives(
    remote: Run, local: Run, picture: Picture, tmp_path: Path, arguments: list[object]
) -> None:
    mask = np.zeros((32, 40), np.uint8)
    mask[10:16, 12:20] = 255
    kernel = np.outer([1, 2, 1], [1, 2, 1]).astype(np.uint8)
    np.save(tmp_path / "MASK.npy", mask)
    np.save(tmp_path / "KERNEL.npy", kernel.astype(float))
    Image.fromarray(mask).save(tmp_path / "MASK.png")
    Image.fromarray(kernel * 60).save(tmp_path / "KERNEL.png")
    name, *given = [tmp_path / a if isinstance(a, str) and a.endswith((".npy", ".png")) else a for a in arguments]
    here = local(name, picture(), tmp_path / "here.png", *given)
    there = remote(name, picture(), tmp_path / "there.png", *given)
    assert (here.exit_code, there.exit_code) == (0, 0), here.output + there.output
    assert there.stdout == ""
    # "IN -> OUT: task, found, calls, seconds, runtime": the same up to the seconds.
    said = [re.split(r", \d+\.\d s", done.stderr)[0] for done in (here, there)]
    assert said[1].replace("there.png", "here.png") == said[0]
    difference = np.abs(values(tmp_path / "here.png").astype(int) - values(tmp_path / "there.png").astype(int))
    # Another batch of another size may round one value in a thousand the other way.
    assert difference.max() <= 1 and (difference > 0).mean() < 1e-3


def test_json_and_uncertainty_are_those_of_the_local_command(
    remote: Run, local: Run, picture: Picture, tmp_path: Path
) -> None:
    options = ["--noise", 20, "--samples", 3, "--steps", 2, "--json"]
    records, maps = [], []
    for run, name in ((local, "here"), (remote, "there")):
        done = run("denoise", picture(), tmp_path / f"{name}.png", "--uncertainty", tmp_path / f"{name}.npy", *options)
        assert done.exit_code == 0, done.output
        records.append(json.loads(done.stdout))
        maps.append(np.load(tmp_path / f"{name}.npy"))
    here, there = records
    assert there["uncertainty"] == str(tmp_path / "there.npy") and there["output"] == str(tmp_path / "there.png")
    assert here.keys() <= there.keys() and len(there["job"]) == 36
    for key in ("input", "task", "parameters", "found", "seed", "nfe", "prior", "digest", "warnings"):
        assert here[key] == there[key], key
    # The server's map holds 65,535 levels.
    np.testing.assert_allclose(maps[1], maps[0], atol=maps[0].max() / 65535 + 1e-3)
    assert maps[0].max() > 0


def test_a_folder_with_a_broken_picture_restores_the_others(remote: Run, picture: Picture, tmp_path: Path) -> None:
    for number in range(7):
        picture(f"in/{number}.png", seed=number)
    picture("in/deep/7.jpg")
    (tmp_path / "in" / "3.png").write_text("not a picture")
    done = remote("denoise", tmp_path / "in", tmp_path / "out", "--noise", 20, "--json")
    assert done.exit_code == 1
    records = [json.loads(line) for line in done.stdout.splitlines()]
    # In the order of the names, although several are restored at a time.
    names = [*(str(tmp_path / "in" / f"{n}.png") for n in range(7)), str(tmp_path / "in" / "deep" / "7.jpg")]
    assert [r["input"] for r in records] == names
    assert [r.get("error", {}).get("code") for r in records] == [*[None] * 3, "unsupported_media_type", *[None] * 4]
    assert f"pellucid: {tmp_path / 'in' / '3.png'}: " in done.stderr
    written = sorted(p.name for p in (tmp_path / "out").rglob("*.*"))
    assert written == ["0.png", "1.png", "2.png", "4.png", "5.png", "6.png", "7.jpg"]
    with Image.open(tmp_path / "out" / "deep" / "7.jpg") as image:
        assert image.format == "JPEG"


def test_pictures_of_a_folder_are_background_work(
    remote: Run, picture: Picture, tmp_path: Path, real_server: Server
) -> None:
    for number in range(2):
        picture(f"in/{number}.png", seed=number)
    done = remote("denoise", tmp_path / "in", tmp_path / "out", "--noise", 20, "--json")
    with Client(real_server.url) as client:
        jobs = [client.jobs.get(json.loads(line)["job"]).info for line in done.stdout.splitlines()]
    assert [job.priority for job in jobs if job is not None] == ["batch", "batch"]


def test_standard_input_to_standard_output(remote: Run, picture: Picture) -> None:
    done = remote("denoise", "-", "-", "--noise", 20, "--format", "jpeg", input=picture().read_bytes())
    assert done.exit_code == 0, done.output
    image = Image.open(io.BytesIO(done.stdout_bytes))
    assert (image.format, image.size) == ("JPEG", (40, 32))
    done = remote("denoise", "-", "-", "--noise", 20, input=picture("in.webp").read_bytes())
    assert Image.open(io.BytesIO(done.stdout_bytes)).format == "WEBP"


def test_an_existing_file_is_kept_unless_told(remote: Run, picture: Picture, tmp_path: Path) -> None:
    target = tmp_path / "out.png"
    target.write_bytes(b"precious")
    done = remote("denoise", picture(), target, "--noise", 20)
    assert done.exit_code == 1 and "--overwrite" in done.stderr
    assert target.read_bytes() == b"precious"
    assert remote("denoise", picture(), target, "--noise", 20, "--overwrite").exit_code == 0
    assert values(target).shape == (32, 40, 3)


@pytest.mark.parametrize("way", ["option", "variable"])
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["denoise", "IN", "out.png", "--device", "auto"], "--device is about this machine"),
        (["denoise", "IN", "out.png", "--runtime", "torch"], "--runtime is about this machine"),
        (["denoise", "IN", "out.png", "--tile", "64"], "--tile is about this machine"),
        (["denoise", "IN", "out.png", "--prior", "./folder"], "the name of a prior, not a folder"),
        (["denoise", "IN", "out.bmp"], "not bmp"),
        (["denoise", "IN", "folder/", "--format", "ppm"], "not ppm"),
        (["denoise", "IN", "-", "--format", "bmp"], "not bmp"),
        (["denoise", "IN", "out.png", "--samples", "4", "--fidelity", "1"], "lower fidelity"),
        (["denoise", "IN", "out.png", "--uncertainty", "m.png"], "--samples"),
        (["denoise", "IN", "out.xyz"], "'.xyz'"),
        (["denoise", "missing.png", "out.png"], "no such file or folder: missing.png"),
        (["denoise", "IN", "-", "--json"], "cannot both go to standard output"),
        (["deblur", "IN", "out.png", "--kernel", "gaussian:-2"], "gaussian:SIGMA"),
        (["deblur", "IN", "out.png", "--kernel", "missing.npy"], "no such file"),
        (["inpaint", "IN", "out.png", "--mask", "missing.png"], "no such file"),
        (["restore", "IN", "out.png", "--task", "deblur"], "needs --kernel"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_sent(
    run: Run,
    picture: Picture,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    said: str,
    way: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    path = str(picture())
    given = [path if a == "IN" else a for a in arguments]
    # Nobody listens there: asking it would be another error.
    if way == "variable":
        monkeypatch.setenv("PELLUCID_SERVER", "http://127.0.0.1:1")
        done = run(*given)
    else:
        done = run("--server", "http://127.0.0.1:1", *given)
    assert done.exit_code == 2, done.output
    assert done.stderr.startswith("pellucid: ") and done.stderr.count("\n") == 1
    assert said in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["in.png"]


def test_the_variable_names_the_server_and_itself(
    run: Run, picture: Picture, tmp_path: Path, real_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PELLUCID_SERVER", real_server.url)
    done = run("denoise", picture(), tmp_path / "out.png", "--json")
    assert done.exit_code == 0 and json.loads(done.stdout)["prior"] == "tiny"
    assert "PELLUCID_SERVER" in run("denoise", picture(), tmp_path / "o.png", "--device", "cpu").stderr
    # It is meant for the commands that ask a server; the others go on as ever.
    assert run("models", "list").exit_code == 0


def test_commands_about_this_machine_take_no_server(run: Run) -> None:
    for command in (["doctor"], ["models", "list"], ["keys", "list", "x"], ["serve"], ["train", "--data", "x"]):
        done = run("--server", "http://127.0.0.1:1", *command)
        assert done.exit_code == 2 and f"{command[0]} is about this machine" in done.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [(["--prior", "nosuch"], "no prior is called 'nosuch'"), (["--server"], "is the server running")],
)
def test_a_server_that_cannot_help_at_all_is_asked_once(
    run: Run, remote: Run, picture: Picture, tmp_path: Path, options: list[str], said: str
) -> None:
    for number in range(6):
        picture(f"in/{number}.png", seed=number)
    given = ["denoise", tmp_path / "in", tmp_path / "out"]
    if options == ["--server"]:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        done = run("--server", f"http://127.0.0.1:{port}", *given)
    else:
        done = remote(*given, *options)
    assert done.exit_code == 3
    assert done.stderr.startswith("pellucid: ") and done.stderr.count("\n") == 1 and said in done.stderr


def test_what_is_no_address_is_one_line(run: Run, picture: Picture, tmp_path: Path) -> None:
    done = run("--server", "localhost:8000", "denoise", picture(), tmp_path / "out.png")
    assert done.exit_code == 1 and done.stderr.count("\n") == 1 and "localhost:8000" in done.stderr


def test_a_refusal_is_told_in_the_server_s_words(remote: Run, picture: Picture, tmp_path: Path) -> None:
    Image.new("L", (10, 10), 255).save(tmp_path / "mask.png")
    done = remote("inpaint", picture(), tmp_path / "out.png", "--mask", tmp_path / "mask.png")
    assert done.exit_code == 1 and "10x10" in done.stderr and "40x32" in done.stderr


def test_without_the_client_the_message_says_what_to_install(
    run: Run, picture: Picture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pellucid_client", None)
    for command in (["denoise", picture(), tmp_path / "out.png"], ["jobs", "list"]):
        done = run("--server", "http://127.0.0.1:1", *command)
        assert done.exit_code == 3 and "pip install ./client" in done.stderr and done.stderr.count("\n") == 1


def test_nothing_heavy_is_loaded(picture: Picture, tmp_path: Path, real_server: Server) -> None:
    heavy = ("torch", "diffusers", "numpy", "scipy", "cv2", "pyvips", "PIL", "fastapi")
    code = f"import sys\nfor m in {heavy}: sys.modules[m] = None\nfrom service.cli.main import main; main()"
    command = [sys.executable, "-c", code, "--server", real_server.url, "denoise", picture(), tmp_path / "out.png"]
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, env=environment(), check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture
def locked(tmp_path: Path, tiny_priors: Path, run: Run) -> Iterator[tuple[Server, str]]:
    """A server that asks for a key, and the key."""
    key = run("keys", "new", tmp_path / "keys").stdout.strip()
    settings = {"PELLUCID_AUTH": "required", "PELLUCID_API_KEYS_FILE": str(tmp_path / "keys")}
    with serving(tmp_path, tiny_priors, settings) as running:
        yield running, key


@pytest.mark.slow
def test_the_key_comes_from_the_environment(
    run: Run, picture: Picture, tmp_path: Path, locked: tuple[Server, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, key = locked
    given = ["--server", server.url, "denoise", picture(), tmp_path / "out.png"]
    done = run(*given)
    assert done.exit_code == 3 and "an API key is needed" in done.stderr
    assert run("--server", server.url, "jobs", "list").exit_code == 3
    monkeypatch.setenv("PELLUCID_API_KEY", key)
    assert run(*given).exit_code == 0
    assert "succeeded" in run("--server", server.url, "jobs", "list").stdout


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interruption_cancels_the_jobs(
    picture: Picture, tmp_path: Path, real_server: Server, start: Start, number: int, code: int
) -> None:
    for index in range(3):
        picture(f"in/{index}.png", 300, 300)
    options = ["--noise", 20, "--fidelity", 0, "--steps", 900, "--seed", number + 1000]
    running = start(["--server", real_server.url, "denoise", tmp_path / "in", tmp_path / "out", *options])
    with Client(real_server.url) as client:

        def jobs() -> list[str]:
            page = client.jobs.page(limit=10).data
            return [job.state for job in page if job.parameters.get("seed") == number + 1000]

        deadline = time.monotonic() + 60
        while jobs().count("running") < 1 or len(jobs()) < 3:
            assert running.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        running.send_signal(number)
        _, errors = running.communicate(timeout=60)
        assert running.returncode == code, errors
        assert b"Traceback" not in errors and not (tmp_path / "out").exists()
        while jobs() != ["canceled"] * 3:
            assert time.monotonic() < deadline
            time.sleep(0.05)
