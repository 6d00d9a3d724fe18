"""Requests to the outside, for pictures given by URL and for webhooks: every connection goes to a judged address.

httpcore asks a network backend for each connection it opens; ours resolves and judges there, so that a redirect, a
second connection or a name that resolves differently the next time passes the same check. No proxy is used, no
credentials are sent, nothing is kept open.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urljoin

import httpcore

from service import __version__
from service.problems import Code, Problem
from service.protection.addresses import AddressGuard

CONNECT_SECONDS = 3.0
"""Until a connection stands: three round trips to the other side of the world and one lost packet."""
MOST_REDIRECTS = 3
_REDIRECTS = {301, 302, 303, 307, 308}
_AGENT = f"pellucid/{__version__}"


@dataclass(frozen=True)
class Answer:
    """What came back; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Outbound:
    """Sends guarded https requests.

    Args:
        guard: judges every URL and every address.
        tls: context to verify certificates with; the machine's trusted roots when None.
    """

    def __init__(self, guard: AddressGuard, tls: ssl.SSLContext | None = None) -> None:
        self.guard = guard
        self._tls = tls

    async def fetch(self, url: str, *, max_bytes: int, seconds: float) -> bytes:
        """The body behind a URL, after at most three redirects.

        Args:
            url: https.
            max_bytes: longest body.
            seconds: for all of it, redirects included.

        Raises:
            Problem: URL_REFUSED, URL_UNREACHABLE, TOO_LARGE.
        """
        try:
            async with asyncio.timeout(seconds):
                for _ in range(MOST_REDIRECTS + 1):
                    answer = await self._send("GET", url, {"Accept": "image/*"}, b"", max_bytes)
                    if answer.status not in _REDIRECTS:
                        break
                    if not answer.headers.get("location"):
                        raise Problem(Code.URL_UNREACHABLE, "the URL redirects to nowhere")
                    url = urljoin(url, answer.headers["location"])
                else:
                    raise Problem(Code.URL_REFUSED, f"the URL redirects more than {MOST_REDIRECTS} times")
        except TimeoutError:
            raise Problem(Code.URL_UNREACHABLE, f"the URL did not deliver within {seconds:g} s") from None
        if answer.status != 200:
            raise Problem(Code.URL_UNREACHABLE, f"the URL answered {answer.status}")
        return answer.body

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes, *, seconds: float, max_bytes: int = 65_536
    ) -> Answer:
        """Send a body; redirects are not followed, and the answer is read up to `max_bytes`.

        Raises:
            Problem: URL_REFUSED, URL_UNREACHABLE, TOO_LARGE.
        """
        try:
            async with asyncio.timeout(seconds):
                return await self._send("POST", url, headers, body, max_bytes)
        except TimeoutError:
            raise Problem(Code.URL_UNREACHABLE, f"the URL did not answer within {seconds:g} s") from None

    async def _send(self, method: str, url: str, headers: Mapping[str, str], body: bytes, max_bytes: int) -> Answer:
        target = self.guard.parse(url)
        given = {"User-Agent": _AGENT, "Accept-Encoding": "identity", **headers}
        if body:
            given["Content-Length"] = str(len(body))
        request = httpcore.URL(
            scheme=b"https", host=target.host.encode(), port=target.port, target=target.path.encode()
        )
        network = _Judging(self.guard)
        pool = httpcore.AsyncConnectionPool(
            ssl_context=self._tls or ssl.create_default_context(), network_backend=network
        )
        try:
            async with (
                pool,
                pool.stream(
                    method,
                    request,
                    headers=[(b"Host", _authority(target.host, target.port)), *_encoded(given)],
                    content=body or None,
                    extensions={"timeout": {"connect": CONNECT_SECONDS}},
                ) as response,
            ):
                return await _read(response, max_bytes)
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, ssl.SSLError, OSError):
            raise Problem(Code.URL_UNREACHABLE, f"{target.host}: no answer that can be used") from None
        finally:
            await network.close()


class _Judging(httpcore.AsyncNetworkBackend):
    """Connects to judged addresses only."""

    def __init__(self, guard: AddressGuard) -> None:
        self._guard = guard
        self._network = httpcore.AnyIOBackend()
        self._opened: list[httpcore.AsyncNetworkStream] = []

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        trouble: Exception | None = None
        for address in await self._guard.addresses(host, port):
            try:
                stream = await self._network.connect_tcp(str(address), port, timeout, local_address, socket_options)
                self._opened.append(stream)
                return stream
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                trouble = error
        raise trouble or httpcore.ConnectError("no address")

    async def close(self) -> None:
        """Close what is still open: httpcore forgets a connection whose TLS handshake is cancelled."""
        for stream in self._opened:
            await stream.aclose()

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None
    ) -> httpcore.AsyncNetworkStream:
        raise httpcore.ConnectError("sockets of this machine are not connected to")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


async def _read(response: httpcore.Response, max_bytes: int) -> Answer:
    headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in response.headers}
    if headers.get("content-encoding", "identity") != "identity":
        raise Problem(Code.URL_UNREACHABLE, "the URL answered with a compressed body, which was not asked for")
    if headers.get("content-length", "").isdigit() and int(headers["content-length"]) > max_bytes:
        raise _too_large(max_bytes)
    body = bytearray()
    async for piece in response.aiter_stream():
        body += piece
        if len(body) > max_bytes:
            raise _too_large(max_bytes)
    return Answer(response.status, headers, bytes(body))


def _too_large(max_bytes: int) -> Problem:
    return Problem(Code.TOO_LARGE, f"the URL delivers more than {max_bytes:,} bytes")


def _authority(host: str, port: int) -> bytes:
    name = f"[{host}]" if ":" in host else host
    return (name if port == 443 else f"{name}:{port}").encode()


def _encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(k.encode("latin-1"), v.encode("latin-1")) for k, v in headers.items()]
