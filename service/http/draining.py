"""Shutting down without dropping anyone (promise R4).

On SIGTERM or SIGINT, before the listening socket closes: readiness fails, new work is answered 503, running jobs finish
or go back to the queue, and everyone who waits is answered. Only then does the signal reach the server's own handler,
which closes the socket and the idle connections. A second signal reaches it at once, and running jobs go back to the
queue instead of being finished.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

SIGNALS = (signal.SIGTERM, signal.SIGINT)

#: The socket stays open at least so long after readiness has failed, for load balancers to see it and for clients to
#: read "Connection: close" on the connections they keep.
NOTICE_SECONDS = 1.0


class Drain:
    """The state of shutting down.

    Attributes:
        begun: set when new work is refused.
        over: set when no job runs here any more.
    """

    def __init__(self) -> None:
        self.begun, self.over = asyncio.Event(), asyncio.Event()
        self._previous: dict[int, Any] = {}
        self._task: asyncio.Task[None] | None = None
        self._hurrying: list[asyncio.Future[None]] = []
        self._signalled = False

    def install(self, drain: Callable[[], Awaitable[None]], hurry: Callable[[], Awaitable[None]]) -> None:
        """Catch the signals, where this is the main thread.

        Args:
            drain: called at the first.
            hurry: called at each further one.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        loop = asyncio.get_running_loop()
        _soften_server()

        def on_signal(number: int, frame: FrameType | None) -> None:
            if self._signalled:
                loop.call_soon_threadsafe(self._hurry, hurry)
                self._forward(number, frame)
            else:
                self._signalled = True
                loop.call_soon_threadsafe(self._begin, drain, number)

        for number in SIGNALS:
            self._previous[number] = signal.signal(number, on_signal)

    def _begin(self, drain: Callable[[], Awaitable[None]], number: int) -> None:
        self.begun.set()
        self._task = asyncio.ensure_future(self._run(drain, number))

    def _hurry(self, hurry: Callable[[], Awaitable[None]]) -> None:
        self._hurrying.append(asyncio.ensure_future(hurry()))

    async def _run(self, drain: Callable[[], Awaitable[None]], number: int) -> None:
        notice = asyncio.ensure_future(asyncio.sleep(NOTICE_SECONDS))
        try:
            await drain()
        except Exception:
            logging.getLogger("pellucid.http").exception("draining failed")
        self.over.set()
        await notice
        self._forward(number, None)

    def _forward(self, number: int, frame: FrameType | None) -> None:
        previous = self._previous.get(number)
        if callable(previous):
            previous(number, frame)
        else:
            self.restore()
            signal.raise_signal(number)

    def restore(self) -> None:
        """Give the signals back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()


def _soften_server() -> None:
    """Under the command `uvicorn` nobody but the handler that is replaced here knows the server."""
    from service.http.listening import ListeningServer, command_server, soften

    server = command_server()
    if server is not None and not isinstance(server, ListeningServer):
        soften(server)


class LastAnswers:
    """ASGI middleware: once the server drains, every answer is the last of its connection, and says so.

    Args:
        app: what lies behind; its `state.parts.drain` is asked.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        parts = getattr(scope["app"].state, "parts", None)  # none without a lifespan

        async def send_last(message: Message) -> None:
            if message["type"] == "http.response.start" and parts is not None and parts.drain.begun.is_set():
                headers = [h for h in message.get("headers", []) if h[0].lower() != b"connection"]
                message["headers"] = [*headers, (b"connection", b"close")]
            await send(message)

        await self._app(scope, receive, send_last)
