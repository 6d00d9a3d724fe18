"""The end of a listening server: nobody who connected before it is cut off."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
import time
from typing import Any

import uvicorn

from service.http.draining import Drain
from service.http.listening import ListeningServer, soften
from service.protection.receiving import DeadlineProtocol

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": message["type"] + ".complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


class Interrupted(ListeningServer):
    """Clients ask at the last moment: the kernel has their requests, the server has not looked yet."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.kept, self.late, self.silent = socket.socket(), [socket.socket() for _ in range(5)], socket.socket()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        assert sockets is not None
        self.kept.sendall(REQUEST)
        for client in self.late:
            client.connect(sockets[0].getsockname())
            client.sendall(REQUEST)
        await super().shutdown(sockets)


def test_requests_sent_before_the_socket_closes_are_answered() -> None:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    address = listener.getsockname()
    server = Interrupted(uvicorn.Config(app, lifespan="on", log_level="warning", http=DeadlineProtocol))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    clients = [server.kept, *server.late, server.silent]
    try:
        while not server.started:
            time.sleep(0.01)
        for client in clients:
            client.settimeout(10)
        server.kept.connect(address)
        server.silent.connect(address)
        server.kept.sendall(REQUEST)
        assert server.kept.recv(4096).startswith(b"HTTP/1.1 204")
        server.should_exit = True
        for client in [server.kept, *server.late]:
            assert client.recv(4096).startswith(b"HTTP/1.1 204")
        assert server.silent.recv(4096) == b"", "who never asked is let go in the end"
        thread.join(10)
        assert not thread.is_alive()
    finally:
        server.should_exit = server.force_exit = True
        thread.join(10)
        for client in clients:
            client.close()


def test_new_connections_are_refused_at_once() -> None:
    """While those that exist linger, no new ones are taken."""

    async def scenario() -> None:
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        address = listener.getsockname()
        server = ListeningServer(uvicorn.Config(app, lifespan="on", log_level="warning", http=DeadlineProtocol))
        serving = asyncio.create_task(server.serve([listener]))
        while not server.started:
            await asyncio.sleep(0.01)
        reader, writer = await asyncio.open_connection(*address)
        server.should_exit = True
        while listener.fileno() != -1:
            await asyncio.sleep(0.01)
        with socket.socket() as late:
            assert late.connect_ex(address) != 0
        writer.write(REQUEST)
        assert (await reader.readline()).startswith(b"HTTP/1.1 204")
        writer.close()
        await serving

    asyncio.run(scenario())


def test_a_server_that_the_command_uvicorn_made_ends_as_gently() -> None:
    """It binds its socket itself. Clients ask at the last moment, as above."""

    async def scenario(gently: bool) -> list[bytes]:
        config = uvicorn.Config(app, "127.0.0.1", 0, lifespan="on", log_level="critical", http=DeadlineProtocol)
        server, clients = uvicorn.Server(config), [socket.socket() for _ in range(5)]
        if gently:
            soften(server)
        end = server.shutdown

        async def shutdown(sockets: list[socket.socket] | None = None) -> None:
            for client in clients:
                client.connect(server.servers[0].sockets[0].getsockname())
                client.sendall(REQUEST)
            await end(sockets)

        server.shutdown = shutdown  # type: ignore[method-assign]
        server.should_exit = True
        await server.serve()
        return [answer(client) for client in clients]

    assert all(found.startswith(b"HTTP/1.1 204") for found in asyncio.run(scenario(True)))
    assert b"" in asyncio.run(scenario(False)), "uvicorn alone would have let some down"


def answer(client: socket.socket) -> bytes:
    """What was sent before the connection ended; nothing when it was reset."""
    client.settimeout(10)
    with client:
        try:
            return client.recv(4096)
        except ConnectionError:
            return b""


def test_draining_finds_the_server_behind_the_handler_it_replaces() -> None:
    server = uvicorn.Server(uvicorn.Config(app))
    abrupt, before = server.shutdown, {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    async def install() -> None:
        async def nothing() -> None: ...

        drain = Drain()
        for number in before:
            signal.signal(number, server.handle_exit)
        drain.install(nothing, nothing)
        drain.restore()

    try:
        asyncio.run(install())
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert server.shutdown != abrupt
