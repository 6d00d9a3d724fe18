"""A request must arrive in time: `receive_seconds` in all, never silent for `idle_seconds` (promise R9).

Two parts. `Receipt` is ASGI middleware: whoever reads a body through it gets a REQUEST_TIMEOUT. `deadline_protocol`
makes a protocol for uvicorn, which alone sees connections whose headers never end, or that send on after their answer;
`pellucid serve` uses it, and `uvicorn service.app:app --http service.protection.receiving:DeadlineProtocol` does.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.problems import Code, Problem

RECEIVE_SECONDS, IDLE_SECONDS = 60.0, 15.0
"""The contract's; `Settings` has the same defaults."""
GRACE_SECONDS = 1.0
"""What the protocol waits longer than the middleware, whose answer is a proper problem."""
MOST_HEADER_BYTES = 32 * 1024
"""Of a request line and its headers; nginx takes as much by default (4 buffers of 8 KiB)."""
_STALL_SECONDS = 60.0
"""Until a client that takes nothing of its answer is given up."""


class Receipt:
    """ASGI middleware: bounds the time until a body is complete.

    Args:
        app: what lies behind.
        receive_seconds: until all of it is there.
        idle_seconds: between two pieces.
    """

    def __init__(self, app: ASGIApp, receive_seconds: float, idle_seconds: float) -> None:
        self._app, self._whole, self._idle = app, receive_seconds, idle_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        clock = asyncio.get_running_loop()
        deadline = clock.time() + self._whole
        complete = late = False

        async def receive_in_time() -> Message:
            nonlocal complete, late
            if complete:
                return await receive()
            left = min(self._idle, deadline - clock.time())
            try:
                async with asyncio.timeout(max(0.0, left)):
                    message = await receive()
            except TimeoutError:
                late = True
                raise Problem(Code.REQUEST_TIMEOUT, "the request's body did not arrive in time") from None
            complete = message["type"] != "http.request" or not message.get("more_body", False)
            return message

        async def send_and_close(message: Message) -> None:
            if late and message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), (b"connection", b"close")]
            await send(message)

        await self._app(scope, receive_in_time, send_and_close)


class DeadlineProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol with deadlines on whatever is being received, bounded headers, and an end to answers that
    nobody takes."""

    receive_seconds: ClassVar[float] = RECEIVE_SECONDS
    idle_seconds: ClassVar[float] = IDLE_SECONDS

    _began: float | None = None  # when the message that is being received did; None between messages
    _heard: float = 0.0
    _head: int | None = 0  # bytes of the headers so far; None once they are complete
    _timer: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._began = self._heard = self.loop.time()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._timer, self._stalled):
            if timer is not None:
                timer.cancel()
        self._timer = self._stalled = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._heard = self.loop.time()
        if self._began is None:
            self._began, self._head = self._heard, 0
            self._watch()
        if self._head is not None:
            self._head += len(data)
        super().data_received(data)
        # More than one buffer of it: the headers end in it, or they are too long.
        if self._head is not None and self._head > MOST_HEADER_BYTES and not self.transport.is_closing():
            self.send_400_response("The request line and headers are too long.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._began is None:
            self._began, self._head = self._heard, 0
            self._watch()

    def on_headers_complete(self) -> None:
        self._head = None
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._began, self._head = None, 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _watch(self) -> None:
        """Look again when the first of the two deadlines may have passed."""
        if self._timer is None and self._began is not None:
            whole, idle = self.receive_seconds + GRACE_SECONDS, self.idle_seconds + GRACE_SECONDS
            self._timer = self.loop.call_at(min(self._began + whole, self._heard + idle), self._look)

    def _look(self) -> None:
        self._timer = None
        if self._began is None or self.transport.is_closing():
            return
        now = self.loop.time()
        if self.flow.read_paused:
            # Our own application does not take what has come: the client is not to blame.
            self._heard = now
        late = now - self._began >= self.receive_seconds + GRACE_SECONDS
        if not late and now - self._heard < self.idle_seconds + GRACE_SECONDS:
            self._watch()
            return
        answered = self.cycle is not None and self.cycle.response_started and self._head is None
        if not answered and self._heard > self._began:
            self.transport.write(_TIMEOUT)
        if self.cycle is not None and self._head is None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._stalled is None:
            self._stalled = self.loop.call_later(_STALL_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None


def deadline_protocol(receive_seconds: float, idle_seconds: float) -> type[DeadlineProtocol]:
    """The protocol class for uvicorn's `http` option, with these deadlines."""
    fields: dict[str, Any] = {"receive_seconds": receive_seconds, "idle_seconds": idle_seconds}
    return type("DeadlineProtocol", (DeadlineProtocol,), fields)


_BODY = (
    b'{"type":"/problems/request_timeout","title":"Request timeout","status":408,'
    b'"detail":"the request did not arrive in time","instance":"","code":"request_timeout","request_id":"",'
    b'"errors":[],"job":null}'
)
_TIMEOUT = (
    b"HTTP/1.1 408 Request Timeout\r\nContent-Type: application/problem+json\r\n"
    b"Content-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(_BODY), _BODY)
)
