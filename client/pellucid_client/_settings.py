"""Where a client's server is, and who the client says it is."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from pellucid_client._effects import Request
from pellucid_client._errors import InvalidInputError
from pellucid_client._http import USER_AGENT, http
from pellucid_client._policy import CONNECT_TIMEOUT, SILENCE

SERVER = "http://localhost:8000"


@dataclass(frozen=True)
class Server:
    """How requests to one server look.

    Attributes:
        base_url: http or https, without a slash at its end; a path is kept, so that a server may live below one.
        api_key: sent as a bearer token; None for a server that wants none.
        headers: sent with every request.
    """

    base_url: str
    api_key: str | None
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def given(cls, base_url: str | None, api_key: str | None, headers: Mapping[str, str] | None) -> Server:
        """From the arguments, else PELLUCID_SERVER and PELLUCID_API_KEY, else a server on this machine.

        Raises:
            InvalidInputError: no URL of a server.
        """
        url = base_url or os.environ.get("PELLUCID_SERVER") or SERVER
        try:
            parts = urlsplit(url)
            valid = (
                parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
            )
        except ValueError:
            valid = False
        if not valid or parts.query or parts.fragment:
            raise InvalidInputError(f"base_url={url!r}: give the server's address, {SERVER} say")
        return cls(url.rstrip("/"), api_key or os.environ.get("PELLUCID_API_KEY") or None, dict(headers or {}))

    def changed(self, api_key: str | None, headers: Mapping[str, str] | None) -> Server:
        """The same server with another key, or more headers."""
        return replace(self, api_key=api_key or self.api_key, headers={**self.headers, **(headers or {})})

    def build(self, request: Request, timeout: float | None, silence: float = SILENCE) -> http.Request:
        """The HTTP library's request.

        Args:
            request: what to ask.
            timeout: seconds in all; a single read or write may take no longer than `silence` of them.
            silence: see there.
        """
        headers = {
            "User-Agent": f"{USER_AGENT} python/{platform.python_version()}",
            **self.headers,
            **request.headers,
        }
        if self.api_key is not None:
            headers["Authorization"] = f"Bearer {self.api_key}"
        files = None
        if request.files is not None:
            files = [(field, (part.name or None, part.data, part.media_type)) for field, part in request.files.items()]
        limit = silence if timeout is None else min(silence, timeout)
        made = http.Request(
            request.method,
            self.base_url + request.path,
            params=dict(request.params) or None,
            headers=headers,
            files=files,
            content=request.content,
        )
        made.extensions["timeout"] = http.Timeout(limit, connect=min(CONNECT_TIMEOUT, limit)).as_dict()
        return made
