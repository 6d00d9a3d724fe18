"""Which outside addresses the server may connect to on a stranger's word.

A name says nothing: it may resolve to the machine itself, or to something else the next time. So a host is resolved
once, every address it has is judged, and the connection goes to a judged address (`service.protection.outbound`).

Sources: IANA's IPv4 and IPv6 special-purpose address registries (RFC 6890 and updates) for what is not public; RFC 4291
2.5.5 (mapped, compatible), RFC 3056 (6to4), RFC 6052 and 8215 (NAT64), RFC 4380 (Teredo), RFC 5214 (ISATAP) for IPv4
inside IPv6.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from service.problems import Code, Problem

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolver = Callable[[str, int], Awaitable[Sequence[str]]]

_REFUSED_V4 = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24",
        "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
        "168.63.129.16/32",  # public by number, but the host's own services on one large cloud
    )
)  # fmt: skip
_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")
"""The only block that is handed out; loopback, mapped, NAT64, unique local, link-local and multicast lie outside."""
_REFUSED_V6 = tuple(
    ipaddress.IPv6Network(network)
    for network in ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20")
)
_ISATAP = (0x00005EFE, 0x02005EFE)

_NAME = re.compile(r"(?=.{1,253}\Z)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z][a-z0-9-]{0,61}[a-z0-9]\.?\Z")
_LONGEST_URL = 2048


@dataclass(frozen=True)
class Target:
    """Where a URL leads: host (lower case, a name or an address without brackets), port, path with its query."""

    host: str
    port: int
    path: str


def refusal(address: Address) -> str | None:
    """Why an address may not be connected to, in a few words; None for a public one."""
    if isinstance(address, ipaddress.IPv4Address):
        return next((f"lies in {network}" for network in _REFUSED_V4 if address in network), None)
    if address not in _GLOBAL_V6 or address.scope_id is not None:
        return f"lies outside {_GLOBAL_V6}"
    if (int(address) >> 32) & 0xFFFFFFFF in _ISATAP:
        return "holds an IPv4 address (ISATAP)"
    return next((f"lies in {network}" for network in _REFUSED_V6 if address in network), None)


async def system_resolver(host: str, port: int) -> Sequence[str]:
    """Every address of a host, as the machine's resolver orders them."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


@dataclass(frozen=True)
class AddressGuard:
    """Judges URLs and hosts.

    Attributes:
        offline: refuse everything, before any look-up.
        allowed: networks that may be reached although they are not public, at any port: an operator's own.
        ports: taken for public addresses.
        resolver: of names.
    """

    offline: bool = False
    allowed: tuple[Network, ...] = ()
    ports: frozenset[int] = frozenset({443})
    resolver: Resolver = system_resolver

    def parse(self, url: str) -> Target:
        """Take a URL apart, strictly: what two parsers could read differently is refused.

        Raises:
            Problem: URL_REFUSED.
        """
        if self.offline:
            raise _refuse("this server works offline and opens no outside connection; send the picture itself")
        if len(url) > _LONGEST_URL or not url.isascii() or re.search(r"[\x00-\x20\x7f\\]", url):
            raise _refuse(f"a URL has at most {_LONGEST_URL} ASCII characters without spaces or backslashes")
        try:
            parts = urlsplit(url)
            host, port = (parts.hostname or "").lower(), parts.port
        except ValueError:
            raise _refuse("the URL is malformed") from None
        if parts.scheme != "https":
            raise _refuse("only https URLs are taken")
        if "@" in parts.netloc:
            raise _refuse("a URL with a user name or password is not taken")
        self._check_host(host, bracketed=parts.netloc.startswith("["))
        port = 443 if port is None else port
        if port not in self.ports and not self.allowed:
            raise _refuse(f"port {port} is not taken; use {', '.join(map(str, sorted(self.ports)))}")
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return Target(host, port, path)

    async def addresses(self, host: str, port: int) -> Sequence[Address]:
        """The addresses to connect to, in order. One forbidden address among them refuses the host.

        Raises:
            Problem: URL_REFUSED, URL_UNREACHABLE.
        """
        if self.offline:
            raise _refuse("this server works offline and opens no outside connection")
        try:
            found: Sequence[Address] = [ipaddress.ip_address(host)]
        except ValueError:
            self._check_host(host, bracketed=False)
            try:
                found = [ipaddress.ip_address(a) for a in await self.resolver(host, port)]
            except (OSError, UnicodeError, ValueError):
                found = []
            if not found:
                raise Problem(Code.URL_UNREACHABLE, f"{host}: no such host") from None
        for address in found:
            self._check(address, host, port)
        return found

    def _check(self, address: Address, host: str, port: int) -> None:
        if any(address.version == network.version and address in network for network in self.allowed):
            return
        if refusal(address) is not None:  # the reason would tell a stranger about the inside network
            raise _refuse(f"{host}: not a public address")
        if port not in self.ports:
            raise _refuse(f"port {port} is not taken; use {', '.join(map(str, sorted(self.ports)))}")

    def _check_host(self, host: str, *, bracketed: bool) -> None:
        if not host:
            raise _refuse("the URL names no host")
        if bracketed or ":" in host:
            try:
                address: Address = ipaddress.IPv6Address(host)
            except ValueError:
                raise _refuse("the URL's IPv6 address is malformed") from None
        elif re.fullmatch(r"[0-9.]+", host):
            try:
                address = ipaddress.IPv4Address(host)
            except ValueError:
                raise _refuse("an IPv4 address is four decimal numbers without leading zeros") from None
        elif _NAME.match(host):
            name = host.rstrip(".")
            if (name == "localhost" or name.endswith(".localhost")) and not self.allowed:
                raise _refuse(f"{host}: not a public address")
            return
        else:  # 0x7f.1, 127.0x0.1 and the like: resolvers take them for addresses
            raise _refuse("the URL's host is neither a name nor an address; international names go in their xn-- form")
        if not self.allowed and refusal(address) is not None:
            raise _refuse(f"{host}: not a public address")


def networks(text: str) -> tuple[Network, ...]:
    """Comma-separated networks, such as "10.1.0.0/16, fd00::/8".

    Raises:
        ValueError: one is malformed.
    """
    return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())


def _refuse(why: str) -> Problem:
    return Problem(Code.URL_REFUSED, why)
