"""The examples in examples/client, as their readers run them: programs, against a real server."""

from __future__ import annotations

import base64
import io
import json
import shutil
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import trustme
from pellucid_client import Client
from PIL import Image

from tests.serving import ROOT, Server, environment, serving

EXAMPLES = ROOT / "examples" / "client"
SECRET = f"whsec_{base64.b64encode(bytes(range(24))).decode()}"


def picture(path: Path, seed: int = 0) -> Path:
    """A small noisy picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).normal(128, 20, (32, 40, 3)).clip(0, 255)
    Image.fromarray(values.astype(np.uint8)).save(path)
    return path


def run(server: Server, *command: object) -> subprocess.CompletedProcess[str]:
    parts = [str(part) for part in command]
    given = environment(PELLUCID_SERVER=server.url)
    return subprocess.run(parts, capture_output=True, text=True, env=given, timeout=120, check=False)


def python(server: Server, name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return run(server, sys.executable, "-W", "error", EXAMPLES / name, *arguments)


def size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        image.load()
        return image.size


def test_every_example_is_listed_and_tested() -> None:
    files = {path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".sh")}
    listed, here = (EXAMPLES / "README.md").read_text(), Path(__file__).read_text()
    for name in files:
        assert f"`{name}`" in listed and f'"{name}"' in here, name


def test_one_picture(real_server: Server, tmp_path: Path) -> None:
    done = python(real_server, "restore.py", picture(tmp_path / "in.png"), tmp_path / "out.png")
    assert done.returncode == 0, done.stderr
    assert "calls of tiny in" in done.stdout and size(tmp_path / "out.png") == (40, 32)
    (tmp_path / "text.png").write_text("text")
    refused = python(real_server, "restore.py", tmp_path / "text.png", tmp_path / "out.png")
    assert refused.returncode == 1 and refused.stderr.startswith("refused (unsupported_media_type)")


def test_several_pictures_in_asyncio(real_server: Server, tmp_path: Path) -> None:
    given = [picture(tmp_path / f"{number}.png", number) for number in range(3)]
    done = python(real_server, "restore_async.py", tmp_path / "out", *given)
    assert done.returncode == 0, done.stderr
    assert [size(tmp_path / "out" / path.name) for path in given] == [(40, 32)] * 3
    assert all(f"{path.name}: done, seed 0" in done.stdout for path in given)


def test_a_folder_that_goes_on_where_it_was(real_server: Server, tmp_path: Path) -> None:
    for number in range(3):
        picture(tmp_path / "in" / f"{number}.png", number)
    (tmp_path / "in" / "broken.png").write_text("text")
    first = python(real_server, "folder.py", tmp_path / "in", tmp_path / "out", "--concurrency", 2)
    assert first.returncode == 1 and "broken.png: " in first.stderr
    assert first.stdout.count(": restored") == 3
    (tmp_path / "in" / "broken.png").unlink()
    (tmp_path / "out" / "1.png").unlink()
    again = python(real_server, "folder.py", tmp_path / "in", tmp_path / "out")
    assert again.returncode == 0
    assert (again.stdout.count(": restored"), again.stdout.count(": skipped")) == (1, 2)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_alone(real_server: Server, tmp_path: Path) -> None:
    done = run(real_server, "bash", EXAMPLES / "curl.sh", picture(tmp_path / "in.png"), tmp_path / "out")
    assert done.returncode == 0, done.stderr + done.stdout
    sizes = {name: size(tmp_path / "out" / name) for name in ("denoised.png", "enlarged.webp", "restored.png")}
    assert sizes == {"denoised.png": (40, 32), "enlarged.webp": (80, 64), "restored.png": (40, 32)}
    assert json.loads((tmp_path / "out" / "job.json").read_text())["state"] == "succeeded"
    assert json.loads((tmp_path / "out" / "report.json").read_text())["prior"] == "tiny"
    assert "Pellucid-Seed: 7".lower() in done.stdout.lower() and "event: completed" in done.stdout
    assert json.loads(done.stdout.splitlines()[-1])["code"] == "invalid_parameter"


@contextmanager
def receiver(folder: Path, authority: trustme.CA) -> Iterator[tuple[str, Path]]:
    """The address of a running webhook receiver, and what it prints."""
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(str(folder / "receiver.pem"))
    log = folder / "receiver.log"
    command = [
        sys.executable,
        EXAMPLES / "webhook_receiver.py",
        "--port",
        "0",
        "--certificate",
        folder / "receiver.pem",
    ]
    with log.open("wb") as stream:
        given = environment(PELLUCID_WEBHOOK_SECRET=SECRET)
        process = subprocess.Popen([str(part) for part in command], stdout=stream, stderr=stream, env=given)
    try:
        until(lambda: "listening at port " in log.read_text() or process.poll() is not None)
        yield f"https://127.0.0.1:{log.read_text().split()[-1]}/", log
    finally:
        process.terminate()
        process.wait(10)


def until(condition: object, seconds: float = 60.0) -> None:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_a_receiver_of_webhooks(tmp_path: Path, tiny_priors: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    settings = {
        "PELLUCID_WEBHOOK_SECRET": SECRET,
        "PELLUCID_ALLOWED_ADDRESSES": "127.0.0.0/8",
        "SSL_CERT_FILE": str(tmp_path / "authority.pem"),
    }
    with (
        receiver(tmp_path, authority) as (url, log),
        serving(tmp_path, tiny_priors, settings) as server,
        Client(server.url) as client,
    ):
        data = io.BytesIO(picture(tmp_path / "in.png").read_bytes())
        job = client.submit(data, "denoise", webhook=url)
        assert job.wait().state == "succeeded"
        until(lambda: f"job {job.id} succeeded" in log.read_text())
        assert log.read_text().count(job.id) == 1
        tls = ssl.create_default_context(cafile=str(tmp_path / "authority.pem"))
        forged = urllib.request.Request(url, json.dumps({"type": "job.completed"}).encode(), method="POST")
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(forged, context=tls)
        caught.value.close()
        assert caught.value.code == 400 and "refused: no header webhook-id" in log.read_text()
