"""R6, R7: what strangers send is judged in a process that may be lost, and nothing undecodable gets past it."""

from __future__ import annotations

import asyncio
import io
import os
import resource
import signal
import struct
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from PIL import Image

from restore.errors import RestoreError
from restore.images import Limits, decode
from restore.images.codec import write
from restore.images.raster import Raster
from service.intake import sandbox
from service.intake.examine import SandboxedIntake, create_intake
from service.problems import Code, Problem
from service.settings import Settings

T = TypeVar("T")


def settings(**changes: object) -> Settings:
    return Settings(**{"decode_seconds": 10.0, **changes})


def within(work: Callable[[SandboxedIntake], Awaitable[T]], **changes: object) -> T:
    """Run some work with an intake that is started before and stopped after."""

    async def go() -> T:
        intake = create_intake(settings(**changes))
        await intake.start()
        try:
            return await work(intake)
        finally:
            await intake.stop()

    return asyncio.run(go())


async def code_of(intake: SandboxedIntake, data: bytes) -> Code | None:
    try:
        await intake.examine(data, "image")
    except Problem as problem:
        assert problem.detail.startswith("image: ")
        return problem.code
    return None


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def cpu_seconds(processes: list[int]) -> float:
    """Processor time of this process and the given ones."""
    tick = os.sysconf("SC_CLK_TCK")
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in processes]
    return time.process_time() + sum((int(f[11]) + int(f[12])) / tick for f in fields)


def peak_bytes(processes: list[int]) -> int:
    """Highest resident memory so far, of this process and the given ones."""
    lines = [line for pid in processes for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
    peaks = [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")]
    return sum(peaks) + resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def test_facts_of_every_kind(hostile):
    async def work(intake: SandboxedIntake) -> dict[str, tuple[object, ...]]:
        found = {name: await intake.examine(data, "image") for name, data in hostile.sound().items()}
        return {n: (f.format, f.width, f.height, f.depth, f.grey, f.alpha) for n, f in found.items()}

    found = within(work)
    assert found == {
        "png": ("png", 64, 48, 8, False, False),
        "png-palette": ("png", 64, 48, 8, False, False),
        "png-rgba": ("png", 64, 48, 8, False, True),
        "png-16": ("png", 64, 48, 16, False, False),
        "jpeg": ("jpeg", 64, 48, 8, False, False),
        "jpeg-progressive": ("jpeg", 48, 64, 8, False, False),  # its EXIF says turned
        "jpeg-grey": ("jpeg", 64, 48, 8, True, False),
        "webp": ("webp", 64, 48, 8, False, False),
        "webp-lossless": ("webp", 64, 48, 8, False, False),
        "tiff": ("tiff", 64, 48, 8, False, False),
        "tiff-deflate": ("tiff", 64, 48, 8, False, False),
        "tiff-lzw": ("tiff", 64, 48, 8, False, False),
        "avif": ("avif", 64, 48, 8, False, False),
    }


def test_bombs_are_refused_fast_and_cheaply(hostile):
    """R7, for each: the right code, under 200 ms of processor time, under 64 MiB more memory, no process lost."""

    async def work(intake: SandboxedIntake) -> None:
        for data in hostile.sound().values():  # every codec is loaded now
            await intake.examine(data, "image")
        processes = intake.sandbox.processes
        for name, (code, make) in hostile.BOMBS.items():
            data = make()
            seconds, memory = cpu_seconds(processes), peak_bytes(processes)
            assert (name, await code_of(intake, data)) == (name, code)
            assert cpu_seconds(processes) - seconds < 0.2, name
            assert peak_bytes(processes) - memory < 64 * 2**20, name
        assert intake.sandbox.processes == processes

    within(work)


def test_other_formats_are_told_by_their_bytes(hostile):
    async def work(intake: SandboxedIntake) -> dict[str, Code | None]:
        return {name: await code_of(intake, data) for name, data in hostile.POLYGLOTS.items()}

    assert within(work) == dict.fromkeys(hostile.POLYGLOTS, Code.UNSUPPORTED_MEDIA_TYPE)


def test_mutated_files_are_refused_or_decode_in_the_worker_too(hostile):
    """R6, the quick version: what the intake lets through, the core decodes; no decoder is lost to any of them."""

    async def work(intake: SandboxedIntake) -> tuple[int, int]:
        passed = refused = 0
        processes = intake.sandbox.processes
        for what, data in hostile.mutations(400, seed=1):
            code = await code_of(intake, data)
            if code is None:
                passed += 1
                try:
                    decode(data, limits=Limits())
                except RestoreError as error:
                    pytest.fail(f"{what}: passed the intake, then {error!r}")
            else:
                refused += 1
                assert code in (
                    Code.UNDECODABLE_IMAGE, Code.UNSUPPORTED_MEDIA_TYPE, Code.IMAGE_SIZE, Code.IMAGE_VALUES,
                    Code.TOO_MANY_FRAMES,
                ), what  # fmt: skip
        assert intake.sandbox.processes == processes
        return passed, refused

    passed, refused = within(work)
    assert passed > 40 and refused > 100


def frames(kind: str, **options: object) -> bytes:
    images = [Image.new("RGB", (32, 32), c) for c in ("red", "green")]
    return encoded(images[0], kind, save_all=True, append_images=images[1:], **options)


@pytest.mark.parametrize("kind", ["WEBP", "PNG", "TIFF", "AVIF"])
def test_animations_and_documents_are_refused(kind):
    assert within(lambda i: code_of(i, frames(kind))) is Code.TOO_MANY_FRAMES


def grey_tiff(*kinds: int) -> bytes:
    """Uncompressed 8-bit grey pages of 16 x 16 with the given NewSubfileType each."""
    size = 2 + 12 * 10 + 4
    out = b"II*\0" + struct.pack("<I", 8 + 256)
    pixels = bytes(range(256))
    for number, kind in enumerate(kinds):
        entries = [(254, kind), (256, 16), (257, 16), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, 16),
                   (279, 256)]  # fmt: skip
        following = 8 + 256 + size * (number + 1) if number + 1 < len(kinds) else 0
        body = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
        pixels += struct.pack("<H", len(entries)) + body + struct.pack("<I", following)
    return out + pixels


def test_thumbnails_and_masks_beside_a_tiff_picture_are_no_pages():
    assert within(lambda i: code_of(i, grey_tiff(0, 1, 4))) is None
    assert within(lambda i: code_of(i, grey_tiff(0, 0))) is Code.TOO_MANY_FRAMES


def test_limits_are_those_of_the_settings():
    image = Image.new("RGB", (64, 48))
    data = encoded(image, "PNG")
    assert within(lambda i: code_of(i, data), max_side=63) is Code.IMAGE_SIZE
    assert within(lambda i: code_of(i, data), max_pixels=3000) is Code.IMAGE_SIZE
    assert within(lambda i: code_of(i, data), max_bytes=len(data) - 1) is Code.TOO_LARGE
    assert within(lambda i: code_of(i, data), max_bytes=len(data)) is None


def test_samples_that_cannot_be_restored_are_named():
    samples = np.full((16, 16, 3), 2.0, np.float32)
    data = write(Raster(samples, "rgb"), "tiff", quality=None, lossless=True)
    assert within(lambda i: code_of(i, data)) is Code.IMAGE_VALUES
    assert within(lambda i: code_of(i, b"")) is Code.UNDECODABLE_IMAGE


def test_decoder_that_hangs_is_replaced(hostile):
    async def work(intake: SandboxedIntake) -> None:
        good = hostile.sound()["png"]
        before = intake.sandbox.processes
        for pid in before:
            os.kill(pid, signal.SIGSTOP)
        results = await asyncio.gather(*(code_of(intake, good) for _ in before))
        assert results == [Code.UNDECODABLE_IMAGE] * len(before)
        assert await code_of(intake, good) is None
        assert not set(before) & set(intake.sandbox.processes)

    within(work, decode_seconds=0.5)


@pytest.mark.slow
def test_picture_that_keeps_the_processor_busy_is_given_up(hostile, monkeypatch):
    """By its processor time, long before the clock's limit: on a busy machine others' work does not count."""
    monkeypatch.setattr(sandbox, "PATIENCE", 1000.0)

    async def work(intake: SandboxedIntake) -> str:
        big = encoded(Image.effect_noise((7000, 7000), 90).convert("RGB"), "PNG", compress_level=1)
        with pytest.raises(Problem) as caught:
            await asyncio.gather(*(intake.examine(big, "image") for _ in range(4)))
        return caught.value.detail

    assert "of the processor" in within(work, decode_seconds=0.01, max_bytes=2**30)


def test_decoder_that_dies_is_replaced(hostile):
    async def work(intake: SandboxedIntake) -> None:
        good = hostile.sound()["png"]
        for pid in intake.sandbox.processes:
            os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(0.1)
        results = await asyncio.gather(*(code_of(intake, good) for _ in range(8)))
        assert results == [None] * 8

    within(work)


def test_memory_of_one_picture_is_bounded():
    """A progressive JPEG keeps every coefficient until its end: 40 megapixels do not fit into 128 MiB."""
    big = encoded(Image.new("RGB", (8000, 5000), (200, 10, 30)), "JPEG", progressive=True)

    async def work(intake: SandboxedIntake) -> None:
        intake.sandbox._memory = 128 * 2**20
        assert await code_of(intake, big) is Code.UNDECODABLE_IMAGE
        intake.sandbox._memory = 2 * 2**30
        assert await code_of(intake, big) is None

    within(work)


def test_caller_that_leaves_costs_no_process(hostile):
    async def work(intake: SandboxedIntake) -> None:
        before = intake.sandbox.processes
        tasks = [asyncio.create_task(code_of(intake, hostile.sound()["jpeg"])) for _ in range(20)]
        await asyncio.sleep(0.005)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert await code_of(intake, hostile.sound()["png"]) is None
        assert intake.sandbox.processes == before

    within(work)


def test_more_waiting_than_can_be_served_is_refused(hostile, monkeypatch):
    monkeypatch.setattr(sandbox, "MOST_WAITING", 3)

    async def work(intake: SandboxedIntake) -> list[Code | None]:
        return await asyncio.gather(*(code_of_any(intake, hostile.sound()["png"]) for _ in range(20)))

    async def code_of_any(intake: SandboxedIntake, data: bytes) -> Code | None:
        try:
            await intake.examine(data, "image")
        except Problem as problem:
            assert problem.retry_after
            return problem.code
        return None

    found = within(work)
    assert set(found) == {None, Code.SATURATED}


def test_decoder_sees_nothing_of_the_server(monkeypatch):
    monkeypatch.setenv("PELLUCID_WEBHOOK_SECRET", "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3")

    async def work(intake: SandboxedIntake) -> None:
        for pid in intake.sandbox.processes:
            assert b"whsec" not in Path(f"/proc/{pid}/environ").read_bytes()
            held = {os.readlink(f) for f in Path(f"/proc/{pid}/fd").iterdir()}
            assert all(name.startswith(("pipe:", "/dev/null", "anon_inode:")) for name in held), held

    within(work)


def test_processes_end_with_the_intake():
    async def work(intake: SandboxedIntake) -> list[int]:
        return intake.sandbox.processes

    for pid in within(work):
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_urls_are_off_by_default():
    async def work(intake: SandboxedIntake) -> Code:
        with pytest.raises(Problem) as caught:
            await intake.fetch("https://example.com/a.png")
        return caught.value.code

    assert within(work) is Code.URL_REFUSED
    assert within(work, url_sources=True, offline=True) is Code.URL_REFUSED
