"""The end of a listening server: nobody who connected before it is cut off."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from typing import Any

import uvicorn

from service.http.listening import ListeningServer
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
