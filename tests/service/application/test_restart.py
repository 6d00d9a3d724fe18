"""R2 and the first half of R3: what a killed server was doing is done by the next one, and done once."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from service.application import RestorationService
from service.jobs.model import Job, JobState, NewJob
from service.jobs.sql import SqlJobStore

Open = Callable[..., Any]
New = Callable[..., NewJob]
Run = Callable[[Callable[[], Awaitable[None]]], None]
HERE = Path(__file__).parent


@contextmanager
def killed_server(folder: Path, engine: str) -> Iterator[Callable[[], None]]:
    """A server in a process of its own; the function kills it as `kill -9` does."""
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[2])}
    command = [sys.executable, str(HERE / "server_process.py"), str(folder), engine]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        try:
            yield process.kill
        finally:
            process.kill()


async def states(store: SqlJobStore) -> list[str]:
    page = await asyncio.to_thread(store.list, owner=None, state=None, cursor=None, limit=100)
    return [job.state.value for job in page.jobs]


def test_queued_and_running_jobs_of_a_killed_server_are_finished_by_the_next(
    serving: Open, new_job: New, run: Run, tmp_path: Path
) -> None:
    async def test() -> None:
        async with serving(started=False) as service:
            await asyncio.to_thread(service.store.open)
            for n in range(6):
                new = new_job(service, bytes([n]) * 10, parameters={"steps": 30, "seconds": 0.02})
                await asyncio.to_thread(service.store.submit, new, 100)
            with killed_server(tmp_path, "script") as kill:
                while (await states(service.store)).count("succeeded") < 2:
                    await asyncio.sleep(0.02)
                await asyncio.sleep(0.1)
                kill()
            finished = {
                job.id: (job.sha256, service.blobs.get(job.outputs["result"]), job.finished_at)
                for job in service.store.list(owner=None, state=JobState.SUCCEEDED, cursor=None, limit=9).jobs
            }
            assert (await states(service.store)).count("running") > 0
        async with serving() as service:  # takes over at once: the dead server's lock is free
            page = service.store.list(owner=None, state=None, cursor=None, limit=9).jobs
            ended = await asyncio.wait_for(asyncio.gather(*(service.wait(job.id) for job in page)), 20)
            assert {job.state for job in ended} == {JobState.SUCCEEDED}
            for job in ended:
                events = await asyncio.to_thread(service.store.events, job.id)
                assert [event.type for event in events].count("completed") == 1
                assert [event.id for event in events] == list(range(1, len(events) + 1))
                data = service.blobs.get(job.outputs["result"])
                assert hashlib.sha256(data).hexdigest() == job.sha256
                if job.id in finished:
                    assert (job.sha256, data, job.finished_at) == finished[job.id]
            assert sum(job.attempt == 2 for job in ended) >= 1

    run(test)


def test_draining_finishes_what_runs_or_queues_it_again(serving: Open, new_job: New, run: Run) -> None:
    async def test() -> None:
        async with serving(slots=2, drain_seconds=0.3) as service:
            short = (await service.submit(new_job(service, parameters={"steps": 5, "seconds": 0.02}))).job
            long = (await service.submit(new_job(service, parameters={"steps": 500, "seconds": 0.02}))).job
            queued = (await service.submit(new_job(service))).job
            while len(service.engine.running) < 2:
                await asyncio.sleep(0.005)
            await service.drain()
            assert service.draining
            kept: list[Job] = [await service.wait(job.id, 0) for job in (short, long, queued)]
            assert [job.state.value for job in kept] == ["succeeded", "queued", "queued"]
            assert [job.attempt for job in kept] == [1, 0, 0]

    run(test)


def test_a_server_that_lost_its_lease_stops_the_work_and_its_late_result_is_not_taken(
    serving: Open, new_job: New, run: Run
) -> None:
    async def test() -> None:
        async with serving(slots=1) as service:
            job = (await service.submit(new_job(service, parameters={"steps": 20, "seconds": 0.02}))).job
            while service.engine.steps < 2:
                await asyncio.sleep(0.005)
            other = SqlJobStore(f"sqlite:///{service.settings.data_dir / 'pellucid.db'}")
            for worker in other.workers():
                other.abandon(worker)
            other.recover(5, 60)
            (taken,) = other.claim("another server", 600, 1)
            while service.engine.running:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)
            now = await asyncio.to_thread(other.get, job.id)
            assert now is not None
            assert (now.state, now.fence, now.outputs) == (JobState.RUNNING, taken.fence, {})
            results = Path(service.settings.data_dir / "blobs" / "result")
            assert not results.exists() or list(results.iterdir()) == []
            other.close()

    run(test)


@pytest.mark.slow
def test_a_restoration_is_the_same_bytes_after_a_kill(
    serving: Open, run: Run, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """R2 with the real engine: the job that was cut off ends as the one that was not."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    picture = io.BytesIO()
    Image.fromarray(noise).save(picture, "PNG")
    data = picture.getvalue()

    def submit(service: RestorationService) -> str:
        new = NewJob("denoise", {"noise": 25.0, "fidelity": 0.0, "steps": 20, "seed": 5},
                     {"image": service.blobs.put(data, "input")}, width=64, height=64, format="png")  # fmt: skip
        service.store.open()
        return service.store.submit(new, 10).job.id

    def ended(store: SqlJobStore, job_id: str) -> Job | None:
        job = store.get(job_id)
        assert job is not None and job.state is not JobState.FAILED, job and job.error
        return job if job.state is JobState.SUCCEEDED else None

    async def test() -> None:
        async with serving(started=False) as service:
            whole, cut = submit(service), ""
            with killed_server(tmp_path, "local") as kill:
                while not ended(service.store, whole):
                    await asyncio.sleep(0.05)
                cut = submit(service)
                while not (job := service.store.get(cut)) or job.step < 1:
                    assert not job or job.state is not JobState.SUCCEEDED, "finished before it could be cut off"
                    await asyncio.sleep(0.01)
                kill()
            assert service.store.get(cut).state is JobState.RUNNING
            with killed_server(tmp_path, "local"):
                while not ended(service.store, cut):
                    await asyncio.sleep(0.05)
            first, second = (service.store.get(job_id) for job_id in (whole, cut))
            assert second.attempt == 2
            assert service.blobs.get(first.outputs["result"]) == service.blobs.get(second.outputs["result"])

    run(test)
