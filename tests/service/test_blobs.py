"""Blobs are whole or absent, private, and found by nothing but their reference."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.blobs import FsspecBlobStore
from tests.service.servers import s3_server

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of an empty bucket on an S3 server of this machine."""
    with s3_server(tmp_path_factory.mktemp("s3")) as bucket, pytest.MonkeyPatch.context() as patch:
        for name, value in bucket.environment.items():
            patch.setenv(name, value)
        yield bucket.url


@pytest.fixture(params=["local", "memory", "s3"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> FsspecBlobStore:
    if request.param == "s3":
        return FsspecBlobStore(f"{request.getfixturevalue('bucket')}/{tmp_path.name}")
    return FsspecBlobStore(str(tmp_path / "blobs") if request.param == "local" else f"memory://{tmp_path.name}")


def test_two_servers_of_one_bucket_see_what_the_other_did(bucket: str) -> None:
    one = FsspecBlobStore(f"{bucket}/shared")
    one._files.clear_instance_cache()  # or both would be one and the same within this process
    two = FsspecBlobStore(f"{bucket}/shared")
    first = one.put(b"first", "input")
    assert two.older_than(time.time() + 60) == [first]
    second = one.put(b"second", "input")
    assert sorted(two.older_than(time.time() + 60)) == sorted([first, second])
    assert two.older_than(time.time() - 60) == []
    two.delete(first)
    with pytest.raises(FileNotFoundError):
        one.get(first)
    assert one.older_than(time.time() + 60) == [second]


def test_what_is_put_is_got_until_it_is_deleted(blobs: FsspecBlobStore) -> None:
    data = os.urandom(100_000)
    reference = blobs.put(data, "input")
    assert reference.startswith("input/")
    assert blobs.get(reference) == data
    blobs.delete(reference)
    with pytest.raises(FileNotFoundError):
        blobs.get(reference)
    blobs.delete(reference)


@pytest.mark.parametrize("reference", ["../secret", "input/../../secret", "{}/secret", "input/abc", "", "input"])
def test_nothing_but_references_is_read_or_deleted(tmp_path: Path, reference: str) -> None:
    (tmp_path / "secret").write_text("s")
    blobs = FsspecBlobStore(str(tmp_path / "blobs"))
    with pytest.raises(FileNotFoundError):
        blobs.get(reference.format(tmp_path))
    blobs.delete(reference.format(tmp_path))
    assert (tmp_path / "secret").exists()


@pytest.mark.parametrize("kind", ["", "../x", "a/b", "A", "x" * 17])
def test_kinds_are_short_words(blobs: FsspecBlobStore, kind: str) -> None:
    with pytest.raises(ValueError, match="kind"):
        blobs.put(b"", kind)


def test_files_are_for_this_user_alone(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        reference = FsspecBlobStore(str(tmp_path / "new" / "blobs")).put(b"x", "input")
    finally:
        os.umask(old)
    path = tmp_path / "new" / "blobs" / reference
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.parent.parent.stat().st_mode) == 0o700


def test_old_blobs_are_listed_and_young_ones_not(tmp_path: Path) -> None:
    blobs = FsspecBlobStore(str(tmp_path))
    old, young = blobs.put(b"old", "input"), blobs.put(b"young", "result")
    os.utime(tmp_path / old, (1, 1))
    assert blobs.older_than(time.time() - 60) == [old]
    assert sorted(blobs.older_than(time.time() + 60)) == sorted([old, young])


def test_a_writer_that_is_killed_leaves_no_half_blob(tmp_path: Path) -> None:
    """Kill a process that writes large blobs in a loop: every finished blob is whole, the rest is `partial`."""
    script = (
        "import sys; from service.blobs import FsspecBlobStore\n"
        "blobs = FsspecBlobStore(sys.argv[1])\n"
        "while True: print(blobs.put(b'x' * 4_000_000, 'result'), flush=True)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}) as process:
        assert process.stdout is not None
        for _ in range(3):
            process.stdout.readline()
        process.kill()
    finished = list((tmp_path / "result").iterdir())
    assert len(finished) >= 3
    assert {path.stat().st_size for path in finished} == {4_000_000}
    blobs = FsspecBlobStore(str(tmp_path))
    for reference in blobs.older_than(time.time() + 60):
        blobs.delete(reference)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
