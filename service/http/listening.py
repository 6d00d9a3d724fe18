"""The listening server: whoever connected before it stopped listening is answered (promise R4).

Closing a listening socket resets the connections that wait in its queue, and closing a connection resets a request that
is on its way through it. So the queue is emptied in the same breath as the socket is closed, and connections without a
request are given a moment for one before they are closed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from contextlib import suppress

import uvicorn

#: How long connections without a request stay open after the socket was closed: longer than a request is on its way.
LINGER_SECONDS = 0.5
#: Exit status of uvicorn when an application does not start.
STARTUP_FAILURE = 3


class ListeningServer(uvicorn.Server):
    """uvicorn's server with a gentler end. Run it with sockets: `server.run(sockets=[listener])`."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await _stop_listening(self, sockets or [])
        await super().shutdown(sockets)


def command_server() -> uvicorn.Server | None:
    """The server that the command `uvicorn` runs here. Nobody but its signal handler knows it."""
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return server if isinstance(server, uvicorn.Server) else None


def refuse_several_processes() -> None:
    """End this process, and the one that started it, if it is one of several that `uvicorn --workers N` started.

    One process serves: its memory holds what a caller may ask a minute, what is counted for /metrics and who waits for
    which job, and each further one would start workers of its own on the same devices.

    Raises:
        SystemExit: it is; the status is uvicorn's own for an application that does not start.
    """
    # uvicorn's own import: to this program modules that send pickles between processes are closed (promise R20).
    server, processes = command_server(), sys.modules.get("multiprocessing")
    parent = None if processes is None else processes.parent_process()
    several = server is not None and server.config.workers > 1 and not server.config.should_reload
    if server is None or not several or parent is None or parent.pid is None:
        return
    print(
        f"pellucid: uvicorn was told to start {server.config.workers} processes (--workers or WEB_CONCURRENCY), but "
        "one serves all devices of this machine, each through a worker process of its own: leave it at 1. Several "
        "servers share a PostgreSQL database; see docs/operations.md",
        file=sys.stderr, flush=True,
    )  # fmt: skip
    os.kill(parent.pid, signal.SIGTERM)  # some versions of uvicorn would start another in its place, again and again
    raise SystemExit(STARTUP_FAILURE)


def soften(server: uvicorn.Server) -> None:
    """Give a server the same end that was made elsewhere, by the command `uvicorn` for one."""
    abrupt = server.shutdown

    async def shutdown(sockets: list[socket.socket] | None = None) -> None:
        await _stop_listening(server, sockets or [])
        await abrupt(sockets)

    server.shutdown = shutdown  # type: ignore[method-assign]


async def _stop_listening(server: uvicorn.Server, sockets: list[socket.socket]) -> None:
    """Take no new connections, let in those that wait, and linger until none is without an answer, but not for long."""
    waiting = _closed(server, sockets)
    loop = asyncio.get_running_loop()

    def protocol() -> asyncio.Protocol:
        config = server.config
        made: asyncio.Protocol = config.http_protocol_class(  # type: ignore[call-arg]
            config=config, server_state=server.server_state, app_state=server.lifespan.state
        )
        return made

    for connection in waiting:
        with suppress(OSError):  # it has gone meanwhile
            await loop.connect_accepted_socket(protocol, connection, ssl=server.config.ssl)
    deadline = loop.time() + LINGER_SECONDS
    while loop.time() < deadline and not server.force_exit and any(map(_is_idle, server.server_state.connections)):
        await asyncio.sleep(0.02)


def _closed(server: uvicorn.Server, sockets: list[socket.socket]) -> list[socket.socket]:
    """Close the listening sockets; returns the connections that waited in their queues."""
    listeners = [
        socket.socket(fileno=os.dup(listener.fileno())) for each in server.servers for listener in each.sockets
    ]
    for each in server.servers:
        each.close()
    for given in sockets:
        given.close()
    found = []
    for listener in listeners:
        listener.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                found.append(listener.accept()[0])
        listener.close()
    return found


def _is_idle(connection: object) -> bool:
    """Whether a connection of uvicorn's has no request that is being answered."""
    cycle = getattr(connection, "cycle", None)
    return cycle is None or bool(cycle.response_complete)
