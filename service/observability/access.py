"""One log line and one count for every answered request."""

from __future__ import annotations

import json
import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.observability import logs
from service.observability.metrics import Metrics

logger = logging.getLogger("pellucid.access")

_QUIET = ("/livez", "/readyz", "/metrics", "/v2/health/")
_NOBODY = 499
"""Logged for a request whose client went away before its answer began."""


class Access:
    """ASGI middleware.

    Args:
        app: what lies behind.
        metrics: where requests are counted.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status, sent, problem = _NOBODY, 0, False

        async def send_counted(message: Message) -> None:
            nonlocal status, sent, problem
            if message["type"] == "http.response.start":
                status = message["status"]
                problem = any(value == b"application/problem+json" for _, value in message.get("headers", ()))
            elif message["type"] == "http.response.body":
                body = message.get("body", b"")
                sent += len(body)
                if problem and body:
                    self._count_problem(body)
                    problem = False
            await send(message)

        with logs.bound(request=str(scope.get("state", {}).get("request_id", ""))):
            try:
                await self._app(scope, receive, send_counted)
            except Exception:
                status = 500
                raise
            finally:
                route = getattr(scope.get("route"), "path", None) or "unmatched"
                self._metrics.request(route, status)
                quiet = scope["path"].startswith(_QUIET) and status < 500
                logger.log(
                    logging.DEBUG if quiet else logging.INFO,
                    "%s %s %d",
                    scope["method"],
                    scope["path"],
                    status,
                    extra={
                        "route": route,
                        "status": status,
                        "milliseconds": round(1000.0 * (time.perf_counter() - started), 2),
                        "bytes_sent": sent,
                        "key": scope.get("state", {}).get("owner", ""),
                    },
                )

    def _count_problem(self, body: bytes) -> None:
        try:
            self._metrics.problem(str(json.loads(body)["code"]))
        except (ValueError, KeyError, TypeError):
            logger.warning("a problem without a code was answered")
