"""The local engine on real processes: tickets run, workers that die or hang are replaced, nothing is left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from service.engine import supervisor
from service.engine.protocol import WorkerEvent


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_ticket_runs_and_ends_with_its_outcome(bench):
    async def scenario():
        async with bench() as b:
            events = await b.follow(b.ticket())
            assert [events[0].type, events[-1].type] == ["started", "succeeded"]
            assert b.blobs.get(events[-1].data["outputs"]["result"])[:4] == b"\x89PNG"
            assert b.engine.status()[0].running == 0 and b.engine.free_slots() == 16

    asyncio.run(scenario())


def test_several_devices_share_the_tickets(bench):
    async def scenario():
        async with bench(devices="cpu,cpu", jobs_at_once=2) as b:
            await b.until(lambda: b.engine.free_slots() == 4)
            runs = [asyncio.create_task(b.end(b.ticket("slow"))) for _ in range(4)]
            await b.until(lambda: [s.running for s in b.engine.status()] == [2, 2])
            assert b.engine.free_slots() == 0
            assert [e.type for e in await asyncio.gather(*runs)] == ["succeeded"] * 4

    asyncio.run(scenario())


def test_a_worker_killed_under_load_is_replaced_and_every_ticket_ends_once(bench):
    async def scenario():
        async with bench(max_batch=2) as b:
            pid = b.pid()
            runs = [asyncio.create_task(b.follow(b.ticket("slow:seconds=0.1"))) for _ in range(8)]
            await b.until(lambda: b.engine.status()[0].running == 8)
            await asyncio.sleep(0.3)
            os.kill(pid, signal.SIGKILL)
            ends = [events[-1] for events in await asyncio.gather(*runs)]
            assert {e.type for e in ends} == {"interrupted"}
            assert all(e.data["reason"] == "crash" for e in ends)
            # Of eight jobs at most those whose tile was computed, or that were in a pool, are suspected.
            assert 0 < sum(e.data["blame"] for e in ends) < 8
            assert b.engine.free_slots() == 0 and b.engine.status()[0].state in ("restarting", "starting")
            await b.until(lambda: b.engine.free_slots() == 16)
            assert b.pid() != pid and b.engine.status()[0].restarts == 1
            assert (await b.end(b.ticket())).type == "succeeded"

    asyncio.run(scenario())


def test_the_job_that_kills_its_worker_is_blamed(bench):
    async def scenario():
        async with bench() as b:
            slow = asyncio.create_task(b.end(b.ticket("slow:seconds=0.02", steps=400)))
            await asyncio.sleep(0.5)
            killer = await b.end(b.ticket("crash:from=3"))
            assert killer == WorkerEvent("interrupted", {"reason": "crash", "blame": True})
            assert (await slow) == WorkerEvent("interrupted", {"reason": "crash", "blame": False})

    asyncio.run(scenario())


@pytest.mark.parametrize("asked", [None, "4"])
def test_a_worker_keeps_few_heaps_unless_the_operator_wants_more(bench, monkeypatch, asked):
    monkeypatch.delenv("MALLOC_ARENA_MAX", raising=False)
    if asked is not None:
        monkeypatch.setenv("MALLOC_ARENA_MAX", asked)

    async def scenario():
        async with bench() as b:
            given = Path(f"/proc/{b.pid()}/environ").read_bytes().split(b"\0")
            assert f"MALLOC_ARENA_MAX={asked or 2}".encode() in given

    asyncio.run(scenario())


def test_a_hung_worker_is_replaced(bench):
    async def scenario():
        async with bench(hang_seconds=2.5) as b:
            pid = b.pid()
            end = await b.end(b.ticket("hang:from=2"))
            assert end == WorkerEvent("interrupted", {"reason": "hang", "blame": True})
            assert not alive(pid)
            await b.until(lambda: b.engine.free_slots() > 0)
            await asyncio.sleep(3.0)  # idle for longer than the limit: it still speaks
            assert b.engine.status()[0].restarts == 1
            assert (await b.end(b.ticket())).type == "succeeded"

    asyncio.run(scenario())


def test_a_worker_is_not_blamed_for_a_machine_that_stood_still(bench):
    async def scenario():
        async with bench(hang_seconds=2.0) as b:
            pid = b.pid()
            running = asyncio.create_task(b.end(b.ticket("slow:seconds=0.02", steps=200, fidelity=0.4)))
            await b.until(lambda: b.engine.status()[0].running == 1)
            os.kill(pid, signal.SIGSTOP)
            await asyncio.sleep(0.2)  # what it has said is heard
            time.sleep(3.0)  # and so does the server's own loop
            os.kill(pid, signal.SIGCONT)
            assert (await running).type == "succeeded"
            assert (b.pid(), b.engine.status()[0].restarts) == (pid, 0)

    asyncio.run(scenario())


def test_a_lost_device_ends_its_process_and_blames_whom_it_worked_on(bench):
    async def scenario():
        async with bench() as b:
            pid = b.pid()
            end = await b.end(b.ticket("fatal:from=2"))
            assert end == WorkerEvent("interrupted", {"reason": "device", "blame": True})
            assert b.engine.free_slots() == 0
            await b.until(lambda: b.engine.free_slots() > 0)
            assert b.pid() != pid

    asyncio.run(scenario())


def test_a_worker_that_cannot_start_opens_the_breaker(bench, monkeypatch):
    monkeypatch.setattr(supervisor, "BREAKER_DEATHS", 2)

    async def scenario():
        b = bench(prior="no such kind:x")  # its options cannot be read
        await b.engine.start()
        try:
            await b.until(lambda: b.engine.status() and b.engine.status()[0].state == "broken")
            status = b.engine.status()[0]
            assert status.restarts == 2 and "cannot be used" in status.detail
            assert b.engine.free_slots() == 0
            end = await b.end(b.ticket())
            assert end == WorkerEvent("interrupted", {"reason": "device", "blame": False})
        finally:
            await b.engine.stop(0.0)

    asyncio.run(scenario())


def test_canceling_stops_a_ticket_and_frees_its_slot(bench):
    async def scenario():
        async with bench(jobs_at_once=1) as b:
            ticket = b.ticket("slow:seconds=0.05", steps=500)
            run = asyncio.create_task(b.follow(ticket))
            await b.until(lambda: b.engine.status()[0].running == 1)
            await asyncio.sleep(0.5)
            await b.engine.cancel(ticket.job_id, ticket.fence)
            events = await asyncio.wait_for(run, 2.0)
            assert events[-1] == WorkerEvent("canceled", {})
            assert b.engine.free_slots() == 1

    asyncio.run(scenario())


def test_closing_the_iterator_cancels_the_work(bench):
    async def scenario():
        async with bench(jobs_at_once=1) as b:
            stream = b.engine.run(b.ticket("slow:seconds=0.05", steps=500))
            assert (await anext(stream)).type == "started"
            await stream.aclose()
            assert b.engine.free_slots() == 1
            # The device does nothing more for it: the next ticket has it for itself.
            assert (await asyncio.wait_for(b.end(b.ticket()), 5.0)).type == "succeeded"

    asyncio.run(scenario())


def test_stopping_waits_for_what_runs_and_interrupts_the_rest_without_blame(bench):
    async def scenario():
        b = bench()
        async with b:
            quick = asyncio.create_task(b.end(b.ticket("slow:seconds=0.02")))
            endless = asyncio.create_task(b.end(b.ticket("slow:seconds=0.05", steps=1000)))
            await b.until(lambda: b.engine.status()[0].running == 2)
            pid = b.pid()
            await b.engine.stop(4.0)
            assert (await quick).type == "succeeded"
            assert (await endless) == WorkerEvent("interrupted", {"reason": "stopped", "blame": False})
            assert not alive(pid)

    asyncio.run(scenario())


def test_a_worker_dies_with_its_server(tmp_path):
    code = f"""
import asyncio, os, signal
from pathlib import Path
from service.engine.local import LocalEngine
from service.settings import Settings
async def main():
    loader = {str(Path(__file__).parents[1] / "worker" / "priors_for_tests.py")!r} + ":load"
    engine = LocalEngine(Settings(data_dir=Path({str(tmp_path)!r}), devices="cpu"), {str(tmp_path)!r}, loader=loader)
    await engine.start()
    while not engine.free_slots():
        await asyncio.sleep(0.02)
    print(engine.workers[0].pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    pid = int(done.stdout)
    for _ in range(200):
        if not alive(pid):
            return
        subprocess.run(["sleep", "0.02"], check=True)
    pytest.fail("the worker outlives its server")


def test_what_was_computed_is_reported(bench):
    async def scenario():
        async with bench() as b:
            await b.end(b.ticket())
            await b.until(lambda: b.reports)
            rows, seconds, prior, runtime = b.reports[0]["batches"][0]
            assert rows == 1 and seconds > 0 and prior == "cheap" and runtime == "torch"

    asyncio.run(scenario())
