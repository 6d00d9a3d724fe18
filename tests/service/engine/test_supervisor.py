"""Back-off and the crash-loop breaker, on lives that are told instead of lived."""

from __future__ import annotations

import asyncio

import pytest

from service.engine import supervisor
from service.engine.protocol import WorkerEvent
from service.engine.supervisor import Supervisor
from service.worker.config import WorkerConfig


class Told(Supervisor):
    """A supervisor whose worker processes live as a script says: "dies", or "works" (ends a ticket, then dies)."""

    def __init__(self, lives):
        super().__init__(WorkerConfig("cpu", ""), 1.0, lambda report: None, self.note)
        self.lives, self.seen, self.over = list(lives), [], asyncio.Event()

    def note(self):
        self.seen.append((self.state, self.detail))

    async def _one_life(self):
        if not self.lives:
            self.over.set()
            await asyncio.Event().wait()
        if self.lives.pop(0) == "works":
            self._be("ready", "ready")
            self._deliver(("job", 1), WorkerEvent("succeeded", {}))
        return "it died"


def pauses(lives):
    """(state, pause) after every life."""

    async def run():
        told = Told(lives)
        told.start()
        await asyncio.wait_for(told.over.wait(), 30)
        await told.stop()
        found = [(state, float(detail.split()[-2])) for state, detail in told.seen if "again after" in detail]
        return found, told.restarts

    return asyncio.run(run())


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(supervisor, "STOP_SECONDS", 0.1)
    monkeypatch.setattr(supervisor, "BACKOFF", 0.001)
    monkeypatch.setattr(supervisor, "LONGEST_BACKOFF", 0.004)
    monkeypatch.setattr(supervisor, "BREAKER_SECONDS", 0.05)


def test_only_the_first_process_looks_for_the_fastest_runtime():
    keeper = Supervisor(WorkerConfig("cpu", "", bench=True), 1.0, lambda report: None, lambda: None)
    assert keeper.told().bench
    keeper.restarts = 1
    assert not keeper.told().bench and keeper.config.bench


def test_each_death_in_a_row_doubles_the_pause_and_the_fifth_opens_the_breaker():
    found, restarts = pauses(["dies"] * 7)
    closed = [("restarting", pause) for pause in (0.001, 0.002, 0.004, 0.004)]
    assert found == closed + [("broken", 0.05)] * 3 and restarts == 7


def test_a_finished_ticket_closes_the_breaker_and_resets_the_pause():
    found, _ = pauses(["dies"] * 6 + ["works", "dies", "works"])
    assert found[5:] == [("broken", 0.05), ("restarting", 0.001), ("restarting", 0.002), ("restarting", 0.001)]


def test_an_open_breaker_takes_no_tickets_until_a_worker_is_ready():
    async def run():
        told = Told(["dies"] * 5)
        told.start()
        while told.state != "broken":
            await asyncio.sleep(0.001)
        assert told.free == 0
        await asyncio.wait_for(told.over.wait(), 10)
        assert told.free == 0, "started again, but not ready yet"
        told._be("ready", "ready")
        assert told.free == told.config.jobs_at_once
        await told.stop()

    asyncio.run(run())
