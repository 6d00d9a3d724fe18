"""What the Ray engine makes of a call's end, however it ends; the cluster itself is in the conformance suite."""

from __future__ import annotations

import asyncio
import json
import warnings
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from service.engine.protocol import Ticket, WorkerEvent
from service.settings import Settings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of deprecations that are Ray's own
    pytest.importorskip("ray.serve", reason="needs Ray: pip install 'pellucid[ray]'")
    from ray.exceptions import ActorDiedError, RayTaskError
    from ray.serve.exceptions import BackPressureError

from service.engine.ray import RayEngine, cluster
from service.engine.ray.cluster import Deployment, State

STARTED = {"type": "started", "data": {"device": "cpu"}}
DONE = {"type": "succeeded", "data": {}}


class Call:
    """A streamed call to a replica: messages, then an exception or silence."""

    def __init__(self, *told: Any) -> None:
        self.told, self.canceled = list(told), asyncio.Event()

    def __aiter__(self) -> Call:
        return self

    async def __anext__(self) -> str:
        if not self.told:
            await self.canceled.wait()
            raise asyncio.CancelledError
        following = self.told.pop(0)
        if isinstance(following, Exception):
            raise following
        return json.dumps({"replica": "a", "restarts": 0, "reports": [], **following})

    def cancel(self) -> None:
        self.canceled.set()


class Handle:
    def __init__(self, calls: list[Call]) -> None:
        self.calls, self.tickets = calls, list[str]()

    def remote(self, ticket: str) -> Call:
        self.tickets.append(ticket)
        return self.calls[len(self.tickets) - 1]


def ticket(number: int = 1) -> Ticket:
    return Ticket(f"job-{number}", 1, 1, "denoise", {"noise": 10}, {"image": "input/a"})


def engine(folder: Path, *calls: Call, replicas: int = 1) -> RayEngine:
    made = RayEngine(Settings(data_dir=folder, engine="ray", jobs_at_once=2), str(folder))
    made._handle, made._state = Handle([*calls]), State(running=replicas)
    return made


async def ends(made: RayEngine, number: int = 1) -> list[WorkerEvent]:
    return [event async for event in made.run(ticket(number))]


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 30))


def test_events_and_counts_come_through(tmp_path: Path) -> None:
    async def test() -> None:
        made = engine(tmp_path, Call(STARTED, DONE | {"reports": [{"batches": []}], "restarts": 2}))
        reports: list[dict[str, Any]] = []
        made.on_report = reports.append
        assert await ends(made) == [WorkerEvent("started", {"device": "cpu"}), WorkerEvent("succeeded", {})]
        assert reports == [{"batches": []}]
        assert (made.status()[0].restarts, made.free_slots()) == (2, 2)
        # References cross, as text.
        assert json.loads(made._handle.tickets[0])["inputs"] == {"image": "input/a"}

    run(test)


@pytest.mark.parametrize(
    ("error", "reason", "blame"),
    [
        (ActorDiedError(), "lost", False),
        (RayTaskError("run", "traceback", ValueError("x")), "crash", True),
        (ConnectionError("gone"), "lost", False),
        (asyncio.IncompleteReadError(b"", 1), "lost", False),
    ],
)
def test_a_ticket_whose_call_fails_is_interrupted(tmp_path: Path, error: Exception, reason: str, blame: bool) -> None:
    async def test() -> None:
        made = engine(tmp_path, Call(STARTED, error))
        assert (await ends(made))[-1] == WorkerEvent("interrupted", {"reason": reason, "blame": blame})
        assert made.free_slots() == 2

    run(test)


def test_after_back_pressure_no_more_is_claimed_until_there_is_room_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        made = engine(tmp_path, Call(STARTED), Call(BackPressureError(1, 1)), replicas=2)
        assert made.free_slots() == 4
        first = asyncio.create_task(ends(made))
        await asyncio.sleep(0.01)
        assert await ends(made, 2) == [WorkerEvent("interrupted", {"reason": "busy", "blame": False})]
        assert made.free_slots() == 0
        monkeypatch.setattr(cluster, "state", lambda name: State(running=2))
        free = []
        for _ in range(4):
            await made._look("worker")
            free.append(made.free_slots())
        assert free == [1, 2, 3, 3]  # one more at each look, up to all that there are
        await made.cancel("job-1", 1)
        assert (await first)[-1] == WorkerEvent("canceled", {})
        made._threads.close()

    run(test)


def test_a_canceled_ticket_ends_so_and_its_call_with_it(tmp_path: Path) -> None:
    async def test() -> None:
        call = Call(STARTED)
        made = engine(tmp_path, call)
        following = asyncio.create_task(ends(made))
        await asyncio.sleep(0.01)
        assert made.free_slots() == 1
        await made.cancel("job-1", 1)
        assert (await following)[-1] == WorkerEvent("canceled", {})
        assert call.canceled.is_set()
        await made.cancel("job-1", 1)  # too late, and no matter

    run(test)


def test_closing_the_iterator_cancels_the_call(tmp_path: Path) -> None:
    async def test() -> None:
        call = Call(STARTED)
        made = engine(tmp_path, call)
        stream = made.run(ticket())
        assert (await anext(stream)).type == "started"
        await stream.aclose()  # type: ignore[attr-defined]
        assert call.canceled.is_set()
        assert made.free_slots() == 2

    run(test)


def test_stopping_waits_for_what_runs_and_interrupts_the_rest(tmp_path: Path) -> None:
    async def test() -> None:
        made = engine(tmp_path, Call(STARTED))
        following = asyncio.create_task(ends(made))
        await asyncio.sleep(0.01)
        await made.stop(0.05)
        assert (await following)[-1] == WorkerEvent("interrupted", {"reason": "stopped", "blame": False})
        assert made.free_slots() == 0
        assert (await ends(made))[-1] == WorkerEvent("interrupted", {"reason": "device", "blame": False})

    run(test)


def test_servers_of_the_same_settings_share_a_deployment_and_others_do_not(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, engine="ray", jobs_at_once=2)
    one, same = (Deployment.of(settings, "s3://bucket", 0.0) for _ in range(2))
    other = Deployment.of(Settings(data_dir=tmp_path, engine="ray", jobs_at_once=3), "s3://bucket", 0.0)
    assert one.name == same.name != other.name
    assert (one.gpus, one.cpus, one.replicas, one.max_replicas) == (0.0, 1.0, 1, 1)
    assert json.loads(one.config)["device"] == "cpu"
    assert json.loads(Deployment.of(settings, "s3://bucket", 0.5).config)["device"] == "cuda:0"


def test_replicas_get_what_the_settings_say(tmp_path: Path) -> None:
    settings = Settings(
        data_dir=tmp_path, engine="ray", jobs_at_once=8, ray_replicas=2, ray_max_replicas=5, ray_gpus=0.5, ray_cpus=2.0
    )
    asked = Deployment.of(settings, str(tmp_path), 0.5)
    deployment = cluster.bound(asked)._bound_deployment
    assert deployment.name == asked.name
    assert deployment.ray_actor_options == {"num_cpus": 2.0, "num_gpus": 0.5}
    assert deployment.max_ongoing_requests == 8
    config = deployment._deployment_config
    assert config.graceful_shutdown_timeout_s == settings.drain_seconds
    scaling = config.autoscaling_config
    assert (scaling.min_replicas, scaling.max_replicas, scaling.target_ongoing_requests) == (2, 5, 6.0)
    one = Deployment.of(Settings(data_dir=tmp_path, engine="ray"), str(tmp_path), 0.0)
    fixed = cluster.bound(one)._bound_deployment
    assert (fixed.num_replicas, fixed._deployment_config.autoscaling_config) == (1, None)


@pytest.mark.parametrize("address", ["ray://head:10001", "head", "http://head:8265"])
def test_an_address_that_is_no_clusters_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="ray_address"):
        Settings(ray_address=address)
