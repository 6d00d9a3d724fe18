"""What an operation asks of the outside: five things, carried out by a driver that blocks or one that awaits.

An operation is a generator. It yields an effect and is sent the outcome; connection errors are thrown into it. So what
a client does is written once, without input or output, and `Client` and `AsyncClient` cannot differ.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pellucid_client._sources import FilePart

T = TypeVar("T")


@dataclass(frozen=True)
class Request:
    """A request, complete but for the server's address and the key.

    Attributes:
        method: GET, POST or DELETE.
        path: from the server's root.
        params: of the query.
        headers: sent along.
        files: parts of a multipart body by field; None for another body.
        content: a raw body.
    """

    method: str
    path: str
    params: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, FilePart] | None = None
    content: bytes | None = None


@dataclass(frozen=True)
class Send:
    """Send a request; the outcome is the whole `Response`.

    Attributes:
        request: what.
        timeout: seconds for everything; None for no end.
    """

    request: Request
    timeout: float | None


@dataclass(frozen=True)
class Open:
    """Send a request; the outcome is a `Response` without its body when that is to be read piece by piece (200), or
    whole.

    Attributes:
        request: what.
        silence: longest time between two pieces, in seconds.
    """

    request: Request
    silence: float


@dataclass(frozen=True)
class Read:
    """The next piece of the opened body; b"" at its end, after which it is closed."""


@dataclass(frozen=True)
class Close:
    """Close the opened body, if there is one."""


@dataclass(frozen=True)
class Sleep:
    """Wait.

    Attributes:
        seconds: how long.
    """

    seconds: float


@dataclass(frozen=True)
class Blocking:
    """Call something that reads or writes files; the outcome is what it returns.

    Attributes:
        function: what to call.
    """

    function: Callable[[], Any]


@dataclass(frozen=True)
class Emit:
    """Hand something to whoever iterates over the operation.

    Attributes:
        item: what.
    """

    item: Any


Effect = Send | Open | Read | Close | Sleep | Blocking | Emit
Operation = Generator[Effect, Any, T]
