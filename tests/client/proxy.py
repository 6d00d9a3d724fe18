"""A proxy that breaks things on demand, between a client and a server, over real sockets."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self


@dataclass(frozen=True)
class Fault:
    """What becomes of the next request that matches.

    Attributes:
        kind: "refuse" (reset before it is passed on), "hang_up" (passed on, reset after `seconds`), "lose_answer"
            (passed on, the whole answer thrown away), "truncate" (reset after `size` bytes of the answer's body), "cut"
            (reset after `size` events of the answer), "delay" (passed on after `seconds`), "answer" (not passed on,
            answered with `status`), "drip" (the answer byte by byte, `seconds` apart).
        match: part of "METHOD path".
    """

    kind: str
    match: str = ""
    size: int = 0
    seconds: float = 0.0
    status: int = 503
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True)
class Seen:
    """A request that came by."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


class Proxy:
    """Listens on a port of its own; every request is one connection to the server."""

    def __init__(self, port: int) -> None:
        self._upstream = port
        self.faults: deque[Fault] = deque()
        self.seen: list[Seen] = []
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(10)

    def paths(self, method: str = "") -> list[str]:
        """Of the requests so far."""
        return [seen.target for seen in self.seen if method in ("", seen.method)]

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._main())
        self._loop.close()

    async def _main(self) -> None:
        self._stopped = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stopped.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._handle(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        method, target, _ = lines[0].split(" ")
        headers = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)
        }
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        self.seen.append(Seen(method, target, headers, body))
        fault = self._next(f"{method} {target}")
        if fault.kind == "refuse":
            return _reset(writer)
        if fault.kind == "answer":
            told = {"Content-Length": str(len(fault.body)), "Connection": "close", **fault.headers}
            writer.write(f"HTTP/1.1 {fault.status} X\r\n".encode())
            writer.write(
                "".join(f"{name}: {value}\r\n" for name, value in told.items()).encode() + b"\r\n" + fault.body
            )
            return await writer.drain()
        if fault.kind == "delay":
            await asyncio.sleep(fault.seconds)
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._upstream)
        try:
            kept = [line for line in lines[:-2] if not line.lower().startswith("connection:")]
            up_writer.write("\r\n".join([*kept, "Connection: close", "", ""]).encode("latin-1") + body)
            await up_writer.drain()
            await self._answer(fault, reader, writer, up_reader)
        finally:
            up_writer.close()

    def _next(self, name: str) -> Fault:
        if self.faults and self.faults[0].match in name:
            return self.faults.popleft()
        return Fault("none")

    async def _answer(
        self, fault: Fault, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, upstream: asyncio.StreamReader
    ) -> None:
        gone = asyncio.ensure_future(reader.read(1))
        try:
            if fault.kind == "hang_up":
                await asyncio.sleep(fault.seconds)
                return _reset(writer)
            head = await self._first(upstream.readuntil(b"\r\n\r\n"), gone)
            if fault.kind == "lose_answer":
                await upstream.read()
                return _reset(writer)
            writer.write(head)
            passed, events = 0, 0
            while piece := await self._first(upstream.read(65536), gone):
                if fault.kind == "truncate" and passed + len(piece) > fault.size:
                    writer.write(piece[: fault.size - passed])
                    await writer.drain()
                    return _reset(writer)
                if fault.kind == "cut":
                    parts = piece.split(b"\n\n")
                    room = fault.size - events
                    events += len(parts) - 1
                    if events >= fault.size:
                        writer.write(b"\n\n".join(parts[:room]) + b"\n\n")
                        await writer.drain()
                        return _reset(writer)
                if fault.kind == "drip":
                    for letter in piece:
                        writer.write(bytes([letter]))
                        await writer.drain()
                        await asyncio.sleep(fault.seconds)
                else:
                    writer.write(piece)
                    await writer.drain()
                passed += len(piece)
        finally:
            gone.cancel()

    async def _first(self, coming: object, gone: asyncio.Future[bytes]) -> bytes:
        """What comes from the server, unless the client hangs up: then the server shall notice."""
        task = asyncio.ensure_future(coming)  # type: ignore[call-overload]
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            task.cancel()
            raise ConnectionResetError
        result: bytes = task.result()
        return result


def _reset(writer: asyncio.StreamWriter) -> None:
    """End the connection with a reset instead of an orderly end."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
