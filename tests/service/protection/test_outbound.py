"""R8: a stranger's URL reaches public addresses only; anything else is refused before a packet leaves."""

from __future__ import annotations

import asyncio
import ipaddress
import random
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trustme

from service.problems import Code, Problem
from service.protection.addresses import AddressGuard, networks, refusal
from service.protection.outbound import Outbound

_LIST = """
http://example.com/ ftp://example.com/a.png file:///etc/passwd gopher://127.0.0.1:6379/_x data:image/png;base64,AAAA
javascript:alert(1) //example.com/a.png https:///a.png https:// example.com
https://localhost/ https://LOCALHOST./ https://a.localhost/ https://127.0.0.1/ https://127.1/ https://127.0.1/
https://127.255.255.254/ https://2130706433/ https://017700000001/ https://0x7f000001/ https://0x7f.0.0.1/
https://0177.0.0.1/ https://127.0.0.01/ https://0x7f.1/ https://127.0x0.1/ https://0/ https://0.0.0.0/
https://00.00.00.00/ https://127.0.0.1./ https://10.0.0.1/ https://172.16.0.1/ https://172.31.255.255/
https://192.168.1.1/ https://169.254.169.254/latest/meta-data/ https://169.254.0.1/ https://100.64.0.1/
https://100.127.255.254/ https://100.100.100.200/ https://192.0.0.192/ https://192.0.2.1/ https://198.18.0.1/
https://198.51.100.7/ https://203.0.113.7/ https://224.0.0.1/ https://239.255.255.255/ https://240.0.0.1/
https://255.255.255.255/ https://192.88.99.1/ https://168.63.129.16/ https://[::1]/ https://[::]/
https://[::ffff:127.0.0.1]/ https://[::ffff:7f00:1]/ https://[::ffff:8.8.8.8]/ https://[::127.0.0.1]/
https://[::ffff:0:127.0.0.1]/ https://[64:ff9b::7f00:1]/ https://[64:ff9b::10.0.0.1]/ https://[64:ff9b:1::a00:1]/
https://[2002:7f00:1::]/ https://[2002:a9fe:a9fe::1]/ https://[2002:808:808::1]/
https://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/ https://[2001:db8::1]/ https://[2001:2::1]/ https://[2001:10::1]/
https://[3fff::1]/ https://[fc00::1]/ https://[fd00:ec2::254]/ https://[fe80::1]/ https://[fe80::1%25eth0]/
https://[fec0::1]/ https://[ff02::1]/ https://[100::1]/ https://[5f00::1]/ https://[2606:4700::200:5efe:10.0.0.1]/
https://[2606:4700::5efe:7f00:1]/ https://[::1/ https://[127.0.0.1]/ https://[]/
https://user@example.com/ https://user:pass@example.com/ https://example.com@127.0.0.1/ https://127.0.0.1#@example.com/
https://example.com\\@127.0.0.1/ https://127.0.0.1\\.example.com/ https://example.com:22/ https://example.com:6379/
https://example.com:0/ https://example.com:99999/ https://example.com:port/ https://%31%32%37.0.0.1/
https://.example.com/ https://a..b.com/ https://-/ https://*/
"""
FORBIDDEN = [
    *_LIST.split(),
    "https://\u2460\u2461\u2466.0.0.1/", "https://\uff11\uff12\uff17.0.0.1/", "https://127\u30020\u30020\u30021/",
    "https://loc\u00adalhost/", "https://ex\u0130mple.com/", "https://example.com/\ta", "https://exa\nmple.com/",
    " https://127.0.0.1/", "https://example.com /", "https://example.com\r\nHost: a/",
    "https://example.com/" + "a" * 3000,
]  # fmt: skip
NAMES = [
    "127.0.0.1", "10.1.2.3", "169.254.169.254", "100.64.9.9", "0.0.0.0", "::1", "::ffff:10.0.0.1", "fe80::1%2",
    "64:ff9b::a00:1", "2002:a00:1::", "fd12::1",
]  # fmt: skip


def answering(*answers: list[str]) -> Callable[[str, int], Awaitable[list[str]]]:
    """A resolver that gives one answer after the other, the last for ever."""
    left = list(answers)

    async def resolve(host: str, port: int) -> list[str]:
        return left.pop(0) if len(left) > 1 else left[0]

    return resolve


def code_of(outbound: Outbound, url: str) -> Code:
    with pytest.raises(Problem) as caught:
        asyncio.run(outbound.fetch(url, max_bytes=1000, seconds=5))
    assert "169.254" not in caught.value.detail or "169.254" in url
    return caught.value.code


def test_list_is_long_enough():
    assert len(set(FORBIDDEN)) + len(NAMES) >= 60


@pytest.mark.parametrize("url", FORBIDDEN)
def test_forbidden_url_is_refused_before_a_packet(url, network):
    assert code_of(Outbound(AddressGuard()), url) is Code.URL_REFUSED
    # asyncio's own socket pair is all that an event loop opens.
    assert network == []


@pytest.mark.parametrize("address", NAMES)
@pytest.mark.parametrize("beside", [[], ["8.8.8.8"], ["2606:4700:4700::1111"]])
def test_name_with_a_forbidden_address_is_not_connected_to(address, beside, network):
    guard = AddressGuard(resolver=answering([*beside, address]))
    assert code_of(Outbound(guard), "https://inside.example/") is Code.URL_REFUSED
    assert network == []


def test_offline_refuses_before_a_look_up(network):
    assert code_of(Outbound(AddressGuard(offline=True)), "https://example.com/") is Code.URL_REFUSED
    assert network == []


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "193.0.6.139", "2606:4700:4700::1111", "2a00:1450:4001:80b::200e"]
)
def test_public_addresses_pass(address):
    assert refusal(ipaddress.ip_address(address)) is None


def test_what_the_standard_library_calls_private_is_refused():
    rng = random.Random(0)
    some: list[ipaddress.IPv4Address | ipaddress.IPv6Address] = [
        ipaddress.IPv4Address(rng.getrandbits(32)) for _ in range(20_000)
    ]
    some += [ipaddress.IPv6Address(rng.getrandbits(128)) for _ in range(20_000)]
    for address in some:
        if refusal(address) is None:
            assert address.is_global and not address.is_multicast, address


CA = trustme.CA()


def contexts(*names: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    CA.issue_cert(*names).configure_cert(server)
    client = ssl.create_default_context()
    CA.configure_trust(client)
    return server, client


@asynccontextmanager
async def serving(host: str, answer: bytes | Callable[[asyncio.StreamWriter], Awaitable[None]], tls: ssl.SSLContext):
    """A TLS server of one answer: (port, connections it has seen)."""
    seen: list[str] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append((await reader.readuntil(b"\r\n\r\n")).decode())
        if callable(answer):
            await answer(writer)
        else:
            writer.write(answer)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, host, 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1], seen


def ok(body: bytes, extra: str = "") -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n{extra}Connection: close\r\n\r\n".encode() + body


def moved(to: str) -> bytes:
    return f"HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()


def fetching(answer: object, *, max_bytes: int = 1000, seconds: float = 5.0, resolver: object = None) -> object:
    """Fetch from a server at 127.0.0.2, the only address that is allowed; what came, or the problem's code."""

    async def go() -> object:
        server, client = contexts("pictures.example")
        async with serving("127.0.0.2", answer, server) as (port, seen):
            guard = AddressGuard(allowed=networks("127.0.0.2/32"), resolver=resolver or answering(["127.0.0.2"]))
            try:
                got = await Outbound(guard, client).fetch(
                    f"https://pictures.example:{port}/a.png?b=1", max_bytes=max_bytes, seconds=seconds
                )
            except Problem as problem:
                return problem.code, seen
            return got, seen

    return asyncio.run(go())


def test_permitted_url_is_fetched_by_name_from_the_judged_address(network):
    body, seen = fetching(ok(b"picture"))
    assert body == b"picture"
    assert seen[0].startswith("GET /a.png?b=1 HTTP/1.1\r\nHost: pictures.example:")
    assert [arguments[0][0] for event, arguments in network if event == "socket.connect"] == ["127.0.0.2"]


@pytest.mark.parametrize(
    "where",
    ["https://127.0.0.1/", "https://169.254.169.254/latest/", "http://pictures.example/", "file:///etc/passwd",
     "https://[::1]/", "//10.0.0.1/"],
)  # fmt: skip
def test_redirect_is_judged_again(where, network):
    code, seen = fetching(moved(where))
    assert code is Code.URL_REFUSED and len(seen) == 1
    assert sum(event == "socket.connect" for event, _ in network) == 1


def test_endless_redirects_end():
    code, seen = fetching(moved("/again"))
    assert code is Code.URL_REFUSED and len(seen) == 4


def test_name_that_resolves_differently_later_is_judged_later():
    """DNS rebinding: the second look-up leads inside, where someone listens."""
    with socket.create_server(("127.0.0.1", 0)) as inside:
        inside.setblocking(False)
        port = inside.getsockname()[1]
        rebinding = answering(["127.0.0.2"], ["127.0.0.1"])
        code, seen = fetching(moved(f"https://pictures.example:{port}/"), resolver=rebinding)
        assert code is Code.URL_REFUSED and len(seen) == 1
        with pytest.raises(BlockingIOError):
            inside.accept()


@pytest.mark.parametrize("honest", [True, False])
def test_long_body_is_cut_off(honest):
    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        for _ in range(100):
            writer.write(bytes(100))
            await writer.drain()

    code, _ = fetching(ok(bytes(1001)) if honest else drip)
    assert code is Code.TOO_LARGE


def test_dripping_body_ends_at_the_deadline():
    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        for _ in range(200):
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.02)

    code, _ = fetching(drip, seconds=0.3)
    assert code is Code.URL_UNREACHABLE


@pytest.mark.parametrize("answer", [b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", b"garbage\r\n\r\n", b"",
                                    ok(b"x", "Content-Encoding: gzip\r\n")])  # fmt: skip
def test_useless_answers_are_unreachable(answer):
    assert fetching(answer)[0] is Code.URL_UNREACHABLE


def test_certificate_of_another_name_is_refused():
    async def go() -> Code:
        server, client = contexts("other.example")
        async with serving("127.0.0.2", ok(b"picture"), server) as (port, _):
            guard = AddressGuard(allowed=networks("127.0.0.2/32"), resolver=answering(["127.0.0.2"]))
            with pytest.raises(Problem) as caught:
                await Outbound(guard, client).fetch(f"https://pictures.example:{port}/", max_bytes=9, seconds=5)
            return caught.value.code

    assert asyncio.run(go()) is Code.URL_UNREACHABLE


def test_proxy_variables_are_not_used(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    assert fetching(ok(b"picture"))[0] == b"picture"
