"""What the server does on the network, seen from inside the interpreter."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

_EVENTS = ("socket.connect", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo", "socket.gethostbyname")
_watching: list[list[tuple[str, object]]] = []


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if event in _EVENTS:
        for seen in _watching:
            seen.append((event, arguments[1:] if event.startswith("socket.connect") else arguments))


sys.addaudithook(_hook)


@contextmanager
def _network() -> Iterator[list[tuple[str, object]]]:
    seen: list[tuple[str, object]] = []
    _watching.append(seen)
    try:
        yield seen
    finally:
        _watching.remove(seen)


@pytest.fixture
def network() -> Iterator[list[tuple[str, object]]]:
    """Every look-up and every connection that the interpreter was asked for during the test."""
    with _network() as seen:
        yield seen
