"""Pictures are stored while they are examined, and kept by jobs only."""

from __future__ import annotations

import asyncio
import threading

import pytest

from service.blobs import FsspecBlobStore
from service.http.submission import storing
from service.problems import Code, Problem


@pytest.fixture
def blobs(tmp_path):
    return FsspecBlobStore(str(tmp_path))


def files(folder):
    return [path.read_bytes() for path in folder.rglob("*") if path.is_file()]


def test_what_no_job_keeps_is_removed_again(blobs, tmp_path):
    async def refused():
        async with storing(blobs, {"image": b"picture", "mask": b"mask"}) as stored:
            await stored.found()
            assert sorted(files(tmp_path)) == [b"mask", b"picture"]
            raise Problem(Code.UNDECODABLE_IMAGE, "it cannot be decoded")

    with pytest.raises(Problem):
        asyncio.run(refused())
    assert files(tmp_path) == []


def test_the_block_goes_on_while_they_are_stored(blobs, tmp_path):
    begun, examined = threading.Event(), threading.Event()

    class Slow:
        def put(self, data, kind):
            begun.set()
            assert examined.wait(30)
            return blobs.put(data, kind)

        delete = blobs.delete

    async def submit():
        async with storing(Slow(), {"image": b"picture"}) as stored:
            await asyncio.to_thread(begun.wait, 30)
            examined.set()
            digests, references = await stored.found()
            stored.keep = True
            assert len(digests["image"]) == 64 and blobs.get(references["image"]) == b"picture"

    asyncio.run(submit())
    assert files(tmp_path) == [b"picture"]


def test_a_refused_picture_leaves_nothing_behind(serve, picture):
    with serve() as server:
        data = picture()
        assert server.client.post("/v1/denoise", content=data[:-40]).status_code == 422
        assert server.client.post("/v1/denoise", content=b"no picture").status_code == 415
        assert server.client.post("/v1/denoise?prior=none-such", content=data).status_code == 422
        assert files(server.settings.data_dir / "blobs") == []
        assert server.client.post("/v1/denoise?noise=20", content=data).status_code == 200
        assert data in files(server.settings.data_dir / "blobs")
