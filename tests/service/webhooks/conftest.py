"""A receiver of webhooks: a real https server on this machine, whose certificate the test trusts."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trustme


@dataclass
class Receiver:
    """Answers with one status after the other, the last for ever; keeps what came."""

    url: str
    statuses: list[int]
    received: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    connections: set[asyncio.Task[None]] = field(default_factory=set)

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.add(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        self.received.append((headers, body))
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        writer.write(f"HTTP/1.1 {status} x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


Receive = Callable[..., AbstractAsyncContextManager[Receiver]]


@pytest.fixture
def certificates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trustme.LeafCert:
    """Of this machine, from an authority that this process and its children trust."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    return authority.issue_cert("127.0.0.1", "localhost")


@pytest.fixture
def receiving(certificates: trustme.LeafCert) -> Receive:
    @asynccontextmanager
    async def receive(*statuses: int, port: int = 0) -> AsyncIterator[Receiver]:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificates.configure_cert(tls)
        receiver = Receiver("", list(statuses) or [200])
        server = await asyncio.start_server(receiver.accept, "127.0.0.1", port, ssl=tls)
        receiver.url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
        async with server:
            yield receiver
            await asyncio.gather(*receiver.connections, return_exceptions=True)

    return receive
