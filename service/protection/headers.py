"""Headers that tell browsers what not to do with our answers."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}
_PAGE = "default-src 'self'; img-src 'self' data: blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
_DOCS = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' https://cdn.jsdelivr.net; "
    "style-src 'self' 'unsafe-inline' https://cdn.jsdelivr.net; img-src 'self' data: https://fastapi.tiangolo.com; "
    "frame-ancestors 'none'; base-uri 'none'"
)
_DATA = "default-src 'none'; frame-ancestors 'none'; sandbox"


class SecurityHeaders:
    """ASGI middleware; what an answer says itself wins.

    Args:
        app: what lies behind.
        shared: whether pages of other origins may use our answers (there are allowed origins).
    """

    def __init__(self, app: ASGIApp, shared: bool) -> None:
        self._app = app
        self._policy = "cross-origin" if shared else "same-origin"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                page = headers.get("content-type", "").startswith("text/html")
                policy = (_DOCS if scope["path"] == "/docs" else _PAGE) if page else _DATA
                headers.setdefault("Content-Security-Policy", policy)
                headers.setdefault("Cross-Origin-Resource-Policy", self._policy)
                for name, value in _ALWAYS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)
