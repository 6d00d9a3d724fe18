"""Which Host names and origins a server on this machine answers.

Any web page may send requests to 127.0.0.1, and any name may be made to resolve to it (DNS rebinding). So a server that
listens on a loopback address answers only for loopback names and those it was given, and no server takes requests that
a page of a foreign origin makes.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

from service.problems import Code, Problem


def is_loopback(host: str) -> bool:
    """Whether an address or a name is this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def listed(text: str) -> frozenset[str]:
    """The entries of a comma-separated setting, in lower case."""
    return frozenset(part.strip().lower().rstrip("/") for part in text.split(",") if part.strip())


def check_host(host: str, *, loopback: bool, allowed: Collection[str]) -> None:
    """Judge a Host header.

    Args:
        host: the header, with or without a port.
        loopback: whether the request came in at a loopback address.
        allowed: names besides the loopback ones; where there are some, a server that listens elsewhere takes only them.

    Raises:
        Problem: HOST_NOT_ALLOWED.
    """
    name = _name(host)
    if name in allowed or "*" in allowed:
        return
    if loopback and (is_loopback(name) or name.endswith(".localhost")):
        return
    if loopback or allowed:
        raise Problem(
            Code.HOST_NOT_ALLOWED, "this server does not answer for that Host; the operator may add it to ALLOWED_HOSTS"
        )


def check_origin(origin: str | None, host: str, allowed: Collection[str]) -> None:
    """Judge an Origin header, which browsers send with what scripts and foreign pages ask for.

    Args:
        origin: the header, None without one.
        host: the Host header; a page of this very server has its origin.
        allowed: origins such as "https://example.com".

    Raises:
        Problem: ORIGIN_NOT_ALLOWED.
    """
    if origin is None or origin.lower() in allowed or "*" in allowed:
        return
    parts = urlsplit(origin.lower())
    if parts.scheme in ("http", "https") and parts.netloc == host.lower():
        return
    raise Problem(Code.ORIGIN_NOT_ALLOWED, "browsers may not call this server from that origin")


def _name(host: str) -> str:
    host = host.strip().lower()
    name = host[: host.find("]") + 1] if host.startswith("[") else host.partition(":")[0]
    return name.rstrip(".").strip("[]")
