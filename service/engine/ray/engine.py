"""`Engine` on a Ray cluster."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from service.blobs import BlobStore, url_of
from service.engine.protocol import DeviceStatus, Ticket, WorkerEvent
from service.engine.supervisor import ENDS
from service.observability.metrics import Metrics
from service.settings import Settings
from service.threads import Threads

if TYPE_CHECKING:
    from service.engine.ray import cluster

#: Seconds between looks at the replicas, and before a cluster that does not answer is asked again.
LOOK_SECONDS, AGAIN_SECONDS = 1.0, 5.0
#: How long a ticket that was stopped may take to say how it ended.
LAST_WORDS_SECONDS = 2.0

log = logging.getLogger(__name__)


class _Flight:
    """A ticket that is worked on somewhere in the cluster."""

    def __init__(self) -> None:
        self.stopped: asyncio.Future[WorkerEvent] = asyncio.get_running_loop().create_future()

    def stop(self, end: WorkerEvent) -> None:
        """Stop it; it ends with an event."""
        if not self.stopped.done():
            self.stopped.set_result(end)


class RayEngine:
    """Runs tickets on the replicas of a Ray Serve deployment.

    Args:
        settings: the server's.
        blob_url: what the replicas open: one place for all machines.
        loader: see `WorkerConfig.loader`; for tests.
        on_report: given what workers counted; see `service.observability.metrics.Metrics.absorb`.
        on_change: called when there may be a free slot.
    """

    def __init__(
        self,
        settings: Settings,
        blob_url: str,
        *,
        loader: str = "",
        on_report: Callable[[dict[str, Any]], None] = lambda report: None,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings, self._blob_url, self._loader = settings, blob_url, loader
        self.on_report, self.on_change = on_report, on_change
        self._threads = Threads("pellucid-ray", 1)
        self._flights: dict[tuple[str, int], _Flight] = {}
        self._landed = asyncio.Event()
        self._handle: Any = None
        self._state: cluster.State | None = None
        self._detail = "connecting to the Ray cluster"
        self._most: int | None = None
        self._was_ready = self._connected = self._stopping = False
        self._restarts: Counter[str] = Counter()
        self._keeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._keeping = asyncio.create_task(self._keep(), name="ray engine")

    def run(self, ticket: Ticket) -> AsyncIterator[WorkerEvent]:
        return self._run(ticket)

    async def _run(self, ticket: Ticket) -> AsyncIterator[WorkerEvent]:
        if self._handle is None or self._stopping:
            yield WorkerEvent("interrupted", {"reason": "device", "blame": False})
            return
        key, flight = (ticket.job_id, ticket.fence), _Flight()
        self._flights[key] = flight
        self.on_change()
        call = self._handle.remote(json.dumps(ticket.to_json()))
        try:
            while True:
                event = await self._next(call, flight)
                yield event
                if event.type in ENDS:
                    return
        finally:
            call.cancel()  # without effect when it has ended
            del self._flights[key]
            self._landed.set()
            self.on_change()

    async def _next(self, call: Any, flight: _Flight) -> WorkerEvent:
        """What a ticket tells next; its end when it was stopped, or when its replica is gone."""
        following = asyncio.ensure_future(_message(call))
        try:
            either: set[asyncio.Future[Any]] = {following, flight.stopped}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not following.done():
                call.cancel()
                await asyncio.wait({following}, timeout=LAST_WORDS_SECONDS)
            message = following.result() if following.done() and not following.cancelled() else None
        except Exception as error:
            return flight.stopped.result() if flight.stopped.done() else self._lost(error)
        finally:
            following.cancel()
        if message is not None:
            self._absorb(message)
            event = WorkerEvent(message["type"], message["data"])
            if event.type in ENDS or not flight.stopped.done():
                return event
        return flight.stopped.result() if flight.stopped.done() else self._lost(EOFError("the stream ended"))

    def _absorb(self, message: dict[str, Any]) -> None:
        for report in message["reports"]:
            self.on_report(report)
        if message["restarts"] > self._restarts[message["replica"]]:
            self._restarts[message["replica"]] = message["restarts"]

    def _lost(self, error: Exception) -> WorkerEvent:
        """How a ticket ends whose call failed."""
        from ray.exceptions import RayTaskError
        from ray.serve.exceptions import BackPressureError

        if isinstance(error, BackPressureError):
            # The job waits in the queue meanwhile. When that is full, new ones are answered 503.
            self._most = len(self._flights) - 1
            log.info("the cluster takes no more tickets now; %d are under way", self._most)
            return WorkerEvent("interrupted", {"reason": "busy", "blame": False})
        log.error("a ticket was lost in the cluster: %s", str(error).partition("\n")[0])
        if isinstance(error, RayTaskError):  # an error of the replica's own code
            return WorkerEvent("interrupted", {"reason": "crash", "blame": True})
        return WorkerEvent("interrupted", {"reason": "lost", "blame": False})

    async def cancel(self, job_id: str, fence: int) -> None:
        if (flight := self._flights.get((job_id, fence))) is not None:
            flight.stop(WorkerEvent("canceled", {}))

    def free_slots(self) -> int:
        if self._stopping or self._state is None:
            return 0
        most = self._state.running * self._settings.jobs_at_once
        if self._most is not None:
            most = min(most, self._most)
        return max(0, most - len(self._flights))

    def status(self) -> Sequence[DeviceStatus]:
        state = self._state
        ready = state is not None and state.running > 0
        word = "ready" if ready else "broken" if state is not None and state.failed else "starting"
        if word == "starting" and self._was_ready:
            word = "restarting"
        return [DeviceStatus("ray", word, len(self._flights), self._restarts.total(), self._detail)]  # type: ignore[arg-type]

    async def stop(self, seconds: float) -> None:
        self._stopping = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._until_landed()
        for flight in self._flights.values():
            flight.stop(WorkerEvent("interrupted", {"reason": "stopped", "blame": False}))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2 * LAST_WORDS_SECONDS):
                await self._until_landed()
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        if self._connected:
            from service.engine.ray import cluster

            await self._threads(cluster.disconnect, own=self._settings.ray_address is None)
        self._threads.close()

    async def _until_landed(self) -> None:
        while self._flights:
            self._landed.clear()
            await self._landed.wait()

    # The deployment.

    async def _keep(self) -> None:
        """Connect, deploy, and look after the replicas' number."""
        from service.engine.ray import cluster

        while True:
            try:
                name = await self._deploy()
                while True:
                    await self._look(name)
                    await asyncio.sleep(LOOK_SECONDS)
            except Exception as error:
                word = str(error).partition("\n")[0]
                log.error("the Ray cluster: %s; asking again in %g s", word, AGAIN_SECONDS)
                waits = isinstance(error, cluster.NotDeployedError)
                self._state, self._detail = None, word if waits else "the Ray cluster does not answer"
                self.on_change()
            await asyncio.sleep(AGAIN_SECONDS)

    async def _deploy(self) -> str:
        from service.engine.ray import cluster

        if not self._connected:
            await self._threads(cluster.connect, self._settings.ray_address)
            self._connected = True
            _take_back_signals()
        gpus = await self._threads(cluster.gpus_of, self._settings)
        deployment = cluster.Deployment.of(self._settings, self._blob_url, gpus, self._loader)
        self._handle = await self._threads(cluster.deploy if self._settings.ray_deploys else cluster.found, deployment)
        return deployment.name

    async def _look(self, name: str) -> None:
        from service.engine.ray import cluster

        before, self._state = self._state, await self._threads(cluster.state, name)
        state = self._state
        self._detail = f"{state.running} of {state.running + state.starting} replicas are ready"
        if state.failed:
            self._detail = "the cluster gets no replica to work"
        if self._most is not None:  # after back-pressure, one more ticket a second
            self._most = self._most + 1 if self._most < state.running * self._settings.jobs_at_once else None
        self._was_ready |= state.running > 0
        if before != state:
            log.info("replicas: %s%s", self._detail, f"; {state.message}" if state.message else "")
        self.on_change()


def _take_back_signals() -> None:
    """Ray's own handler of SIGTERM aborts the process after three seconds, in the middle of draining."""
    handler = signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is threading.main_thread() and handler is not None:
        signal.signal(signal.SIGTERM, handler)


async def _message(call: Any) -> dict[str, Any] | None:
    """The next message of a call; None when it has no more."""
    try:
        message: dict[str, Any] = json.loads(await anext(call))
    except StopAsyncIteration:
        return None
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        return None  # Ray raises it too, for a call that was cancelled before it had found its replica
    return message


def create_engine(
    settings: Settings, blobs: BlobStore, metrics: Metrics, on_change: Callable[[], None] = lambda: None
) -> RayEngine:
    """The engine of a server, its workers' counts in the server's metrics.

    Args:
        settings: of the server.
        blobs: the server's; the workers open the same place.
        metrics: told what the workers did.
        on_change: see `RayEngine`.

    Raises:
        ValueError: Ray is not installed.
    """
    if find_spec("ray") is None:
        raise ValueError("the engine ray needs Ray: pip install 'pellucid[ray]'")
    return RayEngine(settings, url_of(blobs), on_report=metrics.absorb, on_change=on_change)
