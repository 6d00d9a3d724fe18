"""`pellucid jobs` against a real server."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result
from pellucid_client import Client
from PIL import Image

from tests.serving import Server

Run = Callable[..., Result]
Picture = Callable[..., Path]
LONG = {"steps": 1000, "fidelity": 0.0, "noise": 20}


@pytest.fixture
def jobs(run: Run, real_server: Server) -> Run:
    """`pellucid --server URL jobs ...`."""
    return lambda *arguments: run("--server", real_server.url, "jobs", *arguments)


@pytest.fixture
def client(real_server: Server) -> Iterator[Client]:
    with Client(real_server.url) as made:
        yield made


def test_a_job_is_listed_shown_waited_for_and_its_picture_fetched(
    jobs: Run, client: Client, picture: Picture, tmp_path: Path
) -> None:
    job = client.submit(picture(), "denoise", noise=20, seed=11)
    done = jobs("wait", job.id, tmp_path / "out.png")
    assert done.exit_code == 0, done.output
    assert "state      succeeded" in done.stdout and "seed 11" in done.stdout
    with Image.open(tmp_path / "out.png") as image:
        assert image.size == (40, 32)
    listed = jobs("list").stdout.splitlines()
    assert any(line.startswith(f"{job.id}  succeeded") for line in listed)
    shown = json.loads(jobs("show", job.id, "--json").stdout)
    assert shown["id"] == job.id and shown["result"]["width"] == 40
    piped = jobs("wait", job.id, "-")
    assert Image.open(io.BytesIO(piped.stdout_bytes)).size == (40, 32)


def test_jobs_can_be_limited_and_chosen_by_state(jobs: Run, client: Client, picture: Picture) -> None:
    made = [client.submit(picture(), "denoise", noise=20, seed=seed) for seed in range(3)]
    for job in made:
        job.wait()
    newest = json.loads(jobs("list", "--json", "--limit", 2, "--state", "succeeded").stdout)
    assert [job["id"] for job in newest] == [made[2].id, made[1].id]
    assert jobs("list", "--state", "failed", "--json").stdout.strip().startswith("[")
    assert jobs("list", "--state", "finished").exit_code == 2


def test_cancel_stops_what_runs_and_says_what_had_ended(
    jobs: Run, client: Client, picture: Picture, tmp_path: Path
) -> None:
    ended = client.submit(picture(), "denoise", noise=20)
    ended.wait()
    running = client.submit(picture(width=300, height=300), "denoise", **LONG)  # type: ignore[arg-type]
    done = jobs("cancel", ended.id, running.id)
    assert done.exit_code == 1
    assert done.stdout.startswith(f"{running.id}: ")
    assert f"pellucid: {ended.id}: the job has ended" in done.stderr
    waited = jobs("wait", running.id, tmp_path / "out.png")
    assert waited.exit_code == 1 and f"job {running.id} canceled" in waited.stderr
    assert not (tmp_path / "out.png").exists()


def test_waiting_can_be_given_up_and_the_job_goes_on(jobs: Run, client: Client, picture: Picture) -> None:
    job = client.submit(picture(width=300, height=300), "denoise", **LONG)  # type: ignore[arg-type]
    done = jobs("wait", job.id, "--timeout", "1s")
    assert done.exit_code == 1 and "it goes on" in done.stderr
    assert not job.refresh().ended
    job.cancel()


def test_an_existing_file_is_kept_unless_told(jobs: Run, client: Client, picture: Picture, tmp_path: Path) -> None:
    job = client.submit(picture(), "denoise", noise=20)
    (tmp_path / "out.png").write_bytes(b"precious")
    done = jobs("wait", job.id, tmp_path / "out.png")
    assert done.exit_code == 1 and "--overwrite" in done.stderr
    assert (tmp_path / "out.png").read_bytes() == b"precious"
    assert jobs("wait", job.id, tmp_path / "out.png", "--overwrite").exit_code == 0


@pytest.mark.parametrize("command", ["show", "cancel", "wait"])
@pytest.mark.parametrize("job_id", ["00000000-0000-7000-8000-000000000000", "../etc"])
def test_an_unknown_job_is_one_line(jobs: Run, command: str, job_id: str) -> None:
    done = jobs(command, job_id)
    assert done.exit_code == 1 and done.stdout == ""
    assert done.stderr.startswith("pellucid: ") and done.stderr.count("\n") == 1


def test_without_a_server_that_of_this_machine_is_asked(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from pellucid_client import _settings

    monkeypatch.delenv("PELLUCID_SERVER", raising=False)
    monkeypatch.setattr(_settings, "SERVER", "http://127.0.0.1:1")
    done = run("jobs", "list")
    assert done.exit_code == 3 and "http://127.0.0.1:1" in done.stderr
