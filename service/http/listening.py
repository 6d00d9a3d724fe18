"""The listening server: whoever connected before it stopped listening is answered (promise R4).

Closing a listening socket resets the connections that wait in its queue, and closing a connection resets a request that
is on its way through it. So the queue is emptied in the same breath as the socket is closed, and connections without a
request are given a moment for one before they are closed.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from contextlib import suppress

import uvicorn

#: How long connections without a request stay open after the socket was closed: longer than a request is on its way.
LINGER_SECONDS = 0.5


class ListeningServer(uvicorn.Server):
    """uvicorn's server with a gentler end. Run it with sockets: `server.run(sockets=[listener])`."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        waiting = _accepted(sockets or [])
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        loop = asyncio.get_running_loop()
        for connection in waiting:
            with suppress(OSError):  # it has gone meanwhile
                await loop.connect_accepted_socket(self._protocol, connection, ssl=self.config.ssl)
        deadline = loop.time() + LINGER_SECONDS
        while loop.time() < deadline and not self.force_exit and any(map(_is_idle, self.server_state.connections)):
            await asyncio.sleep(0.02)
        await super().shutdown(sockets)

    def _protocol(self) -> asyncio.Protocol:
        config = self.config
        protocol: asyncio.Protocol = config.http_protocol_class(  # type: ignore[call-arg]
            config=config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return protocol


def _accepted(listeners: Iterable[socket.socket]) -> list[socket.socket]:
    """The connections that wait in the queues of listening sockets."""
    found = []
    for listener in listeners:
        listener.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                found.append(listener.accept()[0])
    return found


def _is_idle(connection: object) -> bool:
    """Whether a connection of uvicorn's has no request that is being answered."""
    cycle = getattr(connection, "cycle", None)
    return cycle is None or bool(cycle.response_complete)
