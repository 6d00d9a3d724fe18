"""Fetching priors from a real server that breaks off, lies, redirects and is slow; killed processes go on."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from models.errors import DownloadError, NotPulledError, TruncatedWeightsError, UnsafeWeightsError
from models.registry import download, file_sha256, load_denoiser, prior_facts
from models.registry.pull import pull, remove
from restore.errors import CorruptWeightsError, PriorError, UnknownPriorError
from tests.models.registry.weights_server import WeightsServer


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(download.fetch, "__kwdefaults__", download.fetch.__kwdefaults__ | {"pause": 0.01})


def test_a_pulled_prior_is_verified_private_and_loads(known, server, private):
    with pytest.raises(NotPulledError, match=r"models pull tiny.*CC0-1\.0"):
        load_denoiser("tiny", device="cpu")
    seen = []
    facts = pull("tiny", on_progress=seen.append)
    assert facts == prior_facts("tiny") and facts.folder == private / "tiny"
    assert file_sha256(facts.folder / "tiny.pt") == facts.digest.removeprefix("sha256:")
    assert seen[-1].file == "tiny.pt" and seen[-1].bytes == seen[-1].total == facts.bytes
    assert private.stat().st_mode & 0o777 == 0o700
    assert not list(private.glob(".pull-*"))
    prior = load_denoiser("tiny", device="cpu")
    assert prior.info.digest == facts.digest
    assert prior(torch.zeros(1, 3, 20, 9), torch.ones(1)).shape == (1, 3, 20, 9)


def test_a_folder_that_others_may_read_is_closed_to_them(known, private):
    private.mkdir(mode=0o755)
    pull("tiny")
    assert private.stat().st_mode & 0o777 == 0o700


def test_what_is_there_is_verified_and_not_fetched_again(known, server):
    pull("tiny")
    count = len(server.requests)
    pull("tiny")
    assert len(server.requests) == count
    pull("tiny", force=True)
    assert len(server.requests) == count + 1
    path = prior_facts("tiny").folder / "tiny.pt"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CorruptWeightsError, match="models pull tiny --force"):
        pull("tiny")
    assert pull("tiny", force=True).digest


def test_a_connection_that_breaks_off_is_resumed(known, server, checkpoint):
    server.cut, server.cuts = checkpoint.stat().st_size // 3, 2
    pull("tiny")
    ranges = [asked for _, asked in server.requests]
    assert ranges[0] is None and ranges[1] == f"bytes={server.cut}-" and ranges[2] == f"bytes={2 * server.cut}-"


def test_one_that_always_breaks_off_says_how_far_it_came(known, server, private):
    server.cut, server.cuts = 1000, 100
    with pytest.raises(DownloadError, match=r"broke off 5 times.*5,000 bytes.*goes on"):
        pull("tiny")
    server.cuts = 0
    pull("tiny")
    assert server.requests[-1][1] == "bytes=5000-"


def test_a_server_without_ranges_starts_again(known, server, checkpoint):
    server.cut, server.cuts, server.ranges = 5000, 1, False
    assert pull("tiny").digest.endswith(file_sha256(checkpoint))


def test_a_file_that_changed_meanwhile_is_not_patched_together(known, server, checkpoint):
    server.cut, server.cuts = 1000, 100
    with pytest.raises(DownloadError):
        pull("tiny")
    server.cuts = 0
    torch.save({"a": torch.ones(5000)}, checkpoint)
    known()
    facts = pull("tiny")
    assert file_sha256(facts.folder / "tiny.pt") == file_sha256(checkpoint)


@pytest.mark.parametrize("size", [None, "known"])
def test_another_file_is_refused_and_removed(known, server, private, size):
    if size is None:
        known(bytes=None)
    server.corrupt = True
    with pytest.raises(CorruptWeightsError, match=r"is not the registered file.*sha256.*expected.*was removed"):
        pull("tiny")
    assert not list(private.rglob("*.pt*")) and not (private / "tiny.json").exists()
    with pytest.raises(NotPulledError):
        prior_facts("tiny")


def test_another_length_is_refused_before_it_is_fetched(known, server):
    known(bytes=17)
    with pytest.raises(CorruptWeightsError, match=r"bytes, the registered file 17"):
        pull("tiny")


def test_a_hash_that_nobody_published_is_registered_as_it_came(known, server, checkpoint):
    known(sha256=None, bytes=None)
    facts = pull("tiny")
    assert facts.digest == f"sha256:{file_sha256(checkpoint)}" and facts.bytes == checkpoint.stat().st_size


def test_the_hubs_own_word_on_a_hash_is_demanded(known, server):
    commit = "0123456789" * 4
    known(source={"hub": "some/prior", "revision": "main"}, sha256=None, bytes=None)
    server.redirects["/some/prior/resolve/main/tiny.pt"] = f"{server.url}/tiny.pt"
    server.headers = {"X-Linked-Etag": '"' + "ab" * 32 + '"', "X-Repo-Commit": commit}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PELLUCID_HUB", server.url)
        with pytest.raises(CorruptWeightsError, match="expected sha256 abababababab"):
            pull("tiny")
        server.headers["X-Linked-Etag"] = f'"{file_sha256(server.folder / "tiny.pt")}"'
        assert pull("tiny").source == {"hub": "some/prior", "revision": commit}


def test_code_in_a_checkpoint_never_gets_the_priors_name(known, server, private, checkpoint):
    canary = private / "canary"

    class Code:
        def __reduce__(self):
            return os.system, (f"touch {canary}",)

    torch.save({"model": Code()}, checkpoint)
    known()
    with pytest.raises(UnsafeWeightsError, match="would run code"):
        pull("tiny")
    assert not canary.exists() and not list(private.rglob("*.pt"))


def test_a_truncated_original_is_found_before_it_has_a_name(known, checkpoint, private):
    checkpoint.write_bytes(checkpoint.read_bytes()[:-2000])
    known()
    with pytest.raises(TruncatedWeightsError):
        pull("tiny")
    assert not (private / "tiny").exists()


@pytest.mark.parametrize(("status", "words"), [(404, "there is nothing"), (403, "refuses"), (401, "login")])
def test_what_is_not_there_is_not_asked_for_twice(known, server, status, words):
    server.status["/tiny.pt"] = status
    with pytest.raises(DownloadError, match=words):
        pull("tiny")
    assert len(server.requests) == 1


def test_a_busy_server_is_asked_again(known, server):
    server.busy = 2
    pull("tiny")
    assert len(server.requests) == 3


def test_redirects_are_followed_judged_and_counted(known, server):
    server.redirects["/tiny.pt"] = "/a/tiny.pt"
    (server.folder / "a").mkdir()
    (server.folder / "a" / "tiny.pt").write_bytes((server.folder / "tiny.pt").read_bytes())
    pull("tiny")
    remove("tiny")
    server.redirects["/tiny.pt"] = "/tiny.pt"
    with pytest.raises(DownloadError, match="redirects"):
        pull("tiny")
    known(sha256=None)
    server.redirects["/tiny.pt"] = "http://weights.example/tiny.pt"
    with pytest.raises(DownloadError, match="not https"):
        pull("tiny")


def test_mirrors_come_first_and_a_bad_one_does_no_harm(known, server, tmp_path, monkeypatch):
    mirrored = tmp_path / "mirrored" / "tiny"
    mirrored.mkdir(parents=True)
    (mirrored / "tiny.pt").write_bytes((server.folder / "tiny.pt").read_bytes())
    with WeightsServer(tmp_path / "mirrored") as mirror:
        pull("tiny", mirrors=(mirror.url,))
        assert mirror.requests == [("/tiny/tiny.pt", None)] and not server.requests
        remove("tiny")
        mirror.corrupt = True
        monkeypatch.setenv("PELLUCID_MIRRORS", f"{mirror.url} {mirror.url}/nothing")
        pull("tiny")
        assert len(mirror.requests) == 3 and len(server.requests) == 1


def test_the_proxy_of_the_environment_is_used(known, server, monkeypatch):
    known(url="http://weights.example/")
    monkeypatch.setenv("HTTP_PROXY", server.url)
    pull("tiny")
    assert server.requests == [("http://weights.example/tiny.pt", None)]


def test_offline_opens_no_connection(known, server, monkeypatch):
    monkeypatch.setenv("PELLUCID_OFFLINE", "1")
    with pytest.raises(DownloadError, match="PELLUCID_OFFLINE is set"):
        pull("tiny")
    assert not server.requests
    monkeypatch.setenv("PELLUCID_OFFLINE", "0")
    pull("tiny")
    monkeypatch.setenv("PELLUCID_OFFLINE", "true")
    assert pull("tiny").digest and load_denoiser("tiny", device="cpu")


def test_a_full_disk_is_found_before_anything_is_fetched(known, server, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("U", (), {"free": 1000})())
    with pytest.raises(DownloadError, match=r"GiB are free.*PELLUCID_PRIORS"):
        pull("tiny")
    assert not server.requests


def test_removing(known, private):
    with pytest.raises(NotPulledError):
        remove("tiny")
    pull("tiny")
    assert remove("tiny").name == "tiny"
    assert not (private / "tiny").exists() and not (private / "tiny.json").exists()
    with pytest.raises(PriorError, match="came with the package"):
        remove("photo")
    with pytest.raises(UnknownPriorError):
        remove("../tiny")
    with pytest.raises(UnknownPriorError, match="tiny"):
        pull("../tiny")


def start(catalogue, name="tiny"):
    """`pull` in a process of its own."""
    code = (
        f"from pathlib import Path; from models.registry import places; places.CATALOGUE = Path({str(catalogue)!r})\n"
        f"from models.registry.pull import pull; pull({name!r}, on_wait=lambda: print('waiting', flush=True))"
    )
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_killed_pull_goes_on_where_it_ended(known, server, private, checkpoint):
    torch.save({"a": torch.randn(1_000_000)}, checkpoint)
    catalogue, server.pause = known(), 0.05
    process = start(catalogue)
    part = private / ".pull-tiny" / "tiny.pt.part"
    deadline = time.monotonic() + 30
    while not (part.exists() and part.stat().st_size > 1_100_000):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (private / "tiny.json").exists()
    there, server.pause = part.stat().st_size, 0.0
    facts = pull("tiny")
    assert server.requests[-1][1] == f"bytes={there}-" and len(server.requests) == 2
    assert file_sha256(facts.folder / "tiny.pt") == file_sha256(checkpoint)


def test_of_two_pulls_at_once_one_fetches(known, server, checkpoint, private):
    torch.save({"a": torch.randn(100_000)}, checkpoint)
    catalogue = known()
    server.open.clear()
    first = start(catalogue)
    while not server.requests:
        assert first.poll() is None
        time.sleep(0.01)
    second = start(catalogue)
    assert second.stdout.readline() == "waiting\n"
    server.open.set()
    outcomes = [process.communicate(timeout=60) for process in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], outcomes
    assert len(server.requests) == 1
    assert json.loads((private / "tiny.json").read_text())["files"]["tiny.pt"]["sha256"] == file_sha256(checkpoint)
