from __future__ import annotations

from pathlib import Path

import pellucid_client as pellucid
import pytest
from PIL import Image

from tests.client.conftest import Api, pixels
from tests.client.proxy import Fault, Proxy


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five pictures, one of them in a folder below and one of them broken, and a file that is none."""
    for name in ("a.png", "b.jpg", "c.png", "deep/d.webp"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels(seed=len(name))).save(path)
    (tmp_path / "in" / "broken.png").write_text("not a picture")
    (tmp_path / "in" / "notes.txt").write_text("notes")
    return tmp_path / "in"


def test_every_picture_is_restored_to_its_place(api: Api, proxy: Proxy, folder: Path, tmp_path: Path) -> None:
    proxy.faults.extend([Fault("refuse", "POST"), Fault("truncate", "POST", size=100)])
    seen: list[pellucid.FolderProgress] = []
    target = tmp_path / "out"
    result = api.run(
        api.client.restore_folder(folder, target, "denoise", noise=20, concurrency=2, on_progress=seen.append)
    )
    names = ["a.png", "b.jpg", "broken.png", "c.png", "deep/d.webp"]
    assert [str(item.source.relative_to(folder)) for item in result.items] == names
    assert [item.state for item in result.items] == ["restored", "restored", "failed", "restored", "restored"]
    assert [(p.done, p.total) for p in seen] == [(n, 5) for n in range(1, 6)]
    for name, kind in (("a.png", "PNG"), ("b.jpg", "JPEG"), ("deep/d.webp", "WEBP")):
        with Image.open(target / name) as image:
            assert (image.format, image.size) == (kind, (40, 32))
    with pytest.raises(ExceptionGroup) as caught:
        result.raise_for_failures()
    (error,) = caught.value.exceptions
    assert isinstance(error, pellucid.UnsupportedMediaTypeError)
    assert error.__notes__ == [str(folder / "broken.png")]


def test_progress_is_told_while_other_pictures_are_on_their_way(
    api: Api, proxy: Proxy, folder: Path, tmp_path: Path
) -> None:
    (folder / "broken.png").unlink()
    proxy.faults.append(Fault("delay", "POST", seconds=2.0))
    target, there = tmp_path / "out", list[int]()

    def count(progress: pellucid.FolderProgress) -> None:
        there.append(sum(path.is_file() for path in target.rglob("*")))

    api.run(api.client.restore_folder(folder, target, "denoise", noise=20, concurrency=2, on_progress=count))
    assert there[0] < there[-1] == 4


def test_what_is_there_is_not_restored_again(api: Api, proxy: Proxy, folder: Path, tmp_path: Path) -> None:
    (folder / "broken.png").unlink()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.png").write_bytes(b"precious")
    result = api.run(api.client.restore_folder(folder, tmp_path / "out", "denoise", noise=20))
    assert [item.state for item in result.items] == ["skipped", "restored", "restored", "restored"]
    assert (tmp_path / "out" / "a.png").read_bytes() == b"precious"
    sent = len(proxy.paths("POST"))
    again = api.run(api.client.restore_folder(folder, tmp_path / "out", "denoise", noise=20, overwrite=True))
    assert [item.state for item in again.items] == ["restored"] * 4
    assert len(proxy.paths("POST")) == sent + 4


def test_no_more_than_asked_for_are_restored_at_a_time(api: Api, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(6):
        Image.fromarray(pixels(seed=number)).save(tmp_path / "in" / f"{number}.png")
    folders = (tmp_path / "in", tmp_path / "out", "denoise")
    result = api.run(api.client.restore_folder(*folders, noise=20, steps=30, fidelity=0, concurrency=2))
    jobs = [api.run(api.client.jobs.get(item.job_id)).info for item in result.items]
    overlapping = [
        sum(other.created_at <= job.created_at < other.finished_at for other in jobs) for job in jobs
    ]  # fmt: skip
    assert max(overlapping) == 2


def test_a_folder_without_pictures_is_refused(api: Api, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for source, said in ((tmp_path / "in", "no pictures"), (tmp_path / "none", "is no folder")):
        with pytest.raises(pellucid.InvalidInputError, match=said):
            api.run(api.client.restore_folder(source, tmp_path / "out"))
