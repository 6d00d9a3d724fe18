"""Server-sent events: a job's history, then what happens to it, with ids to go on from."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.core import Service
from service.http.draining import Drain
from service.http.negotiation import EVENTS
from service.http.waiting import disconnected
from service.jobs.model import Event
from service.problems import Code, Problem
from service.schemas.job import JobResource

#: Seconds of silence after which a comment keeps proxies from closing the connection.
COMMENT_SECONDS = 15.0
#: Milliseconds after which a client that lost the connection comes back.
RETRY_MS = 2000


class EventStream(Response):
    """The events of one job after a given id; ends after "completed", or when the server drains.

    Args:
        service: knows the job.
        drain: ends the stream.
        job_id: of an existing job.
        after: id of the last event that the client has.
        headers: of the answer.
        gone: called when the client hangs up before the end.
    """

    def __init__(
        self,
        service: Service,
        drain: Drain,
        job_id: str,
        after: int,
        headers: dict[str, str],
        gone: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        # X-Accel-Buffering: nginx would collect the events otherwise.
        super().__init__(None, 200, headers | {"X-Accel-Buffering": "no"}, EVENTS)
        del self.headers["content-length"]
        self._service, self._drain, self._job_id, self._after, self._gone = service, drain, job_id, after, gone

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        hung_up = asyncio.ensure_future(disconnected(receive))
        over = asyncio.ensure_future(self._drain.over.wait())
        chunks = self._chunks()
        try:
            while True:
                chunk = asyncio.ensure_future(anext(chunks))
                await asyncio.wait({chunk, hung_up, over}, return_when=asyncio.FIRST_COMPLETED)
                if not chunk.done():
                    chunk.cancel()
                    await asyncio.gather(chunk, return_exceptions=True)
                    break
                try:
                    body = chunk.result()
                except StopAsyncIteration:
                    break
                await send({"type": "http.response.body", "body": body, "more_body": True})
            if hung_up.done():
                if self._gone is not None:
                    await self._gone()
                return
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            for task in (hung_up, over):
                task.cancel()
            await asyncio.gather(hung_up, over, return_exceptions=True)
            await chunks.aclose()

    async def _chunks(self) -> AsyncGenerator[bytes, None]:
        yield f"retry: {RETRY_MS}\n\n".encode()
        events = self._service.watch(self._job_id, self._after)
        last, ended = self._after, False
        following: asyncio.Future[Event] | None = None
        try:
            while True:
                if following is None:
                    following = asyncio.ensure_future(anext(events))
                done, _ = await asyncio.wait({following}, timeout=COMMENT_SECONDS)
                if not done:
                    yield b": still here\n\n"
                    continue
                try:
                    event = following.result()
                except StopAsyncIteration:
                    break
                following = None
                last, ended = event.id, event.type == "completed"
                yield await self._encoded(event)
        finally:
            if following is not None:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
        if not ended and self._after == 0:
            # The events of an ended job may have been removed with its files: how it ended is known all the same.
            yield await self._encoded(Event(last + 1, "completed", {}))

    async def _encoded(self, event: Event) -> bytes:
        data = event.data
        if event.type == "completed":
            data = {"job": JobResource.of(await self._service.wait(self._job_id, 0.0)).json_ready()}
        text = json.dumps(data, separators=(",", ":"))
        return f"id: {event.id}\nevent: {event.type}\ndata: {text}\n\n".encode()


def last_event_id(header: str | None) -> int:
    """Where to go on, from the header Last-Event-ID.

    Raises:
        Problem: MALFORMED_REQUEST.
    """
    if header is None:
        return 0
    if not (header.isascii() and header.isdigit() and len(header) <= 15):
        raise Problem(Code.MALFORMED_REQUEST, "Last-Event-ID is the id of an event: a whole number")
    return int(header)
