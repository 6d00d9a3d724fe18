"""The HTTP library, chosen here and nowhere else: httpx2.

Compared on PyPI in November 2026:

| | httpx | httpx2 |
|---|---|---|
| newest stable release | 0.28.1, December 2024; since then 1.0.dev1 to dev6 | 2.16.2, November 2026; monthly |
| who keeps it | Encode, little activity | Pydantic, with httpx's author |
| API | `Client`, `AsyncClient`, transports, exceptions | the same names and behaviour, forked from 0.28.1 |
| Python | 3.8 and newer | 3.11 and newer, as this package |
| needs | httpcore, certifi, anyio, idna | httpcore2, truststore, anyio, idna |

httpx2 it is: security fixes reach it, it trusts the certificates that the operating system trusts (company authorities
included) and not a bundled list, and openai-python and starlette's test client have moved to it. Both can be installed
side by side, so nobody's httpx is disturbed. Going back would be one line here and one in pyproject.toml.

Its own server-sent events (`Client.sse`) are not used: events here are decoded without a connection (`_sse`), so that
one piece of code serves both clients and a stream can be taken up again where it broke.
"""

from __future__ import annotations

import httpx2 as http

from pellucid_client._version import __version__

__all__ = ["LIMITS", "USER_AGENT", "http"]

#: Of openai-python: many requests may share a pool, idle connections are few.
LIMITS = http.Limits(max_connections=1000, max_keepalive_connections=100)

USER_AGENT = f"pellucid-client/{__version__}"
