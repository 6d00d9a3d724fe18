"""Install all protection on an application, in the order that matters."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request

from service.observability.access import Access
from service.observability.metrics import Metrics
from service.protection.gate import Gate
from service.protection.headers import SecurityHeaders
from service.protection.hosts import listed
from service.protection.keys import ANYONE, Keys, Principal
from service.protection.receiving import Receipt
from service.settings import Settings

_METHODS = ("GET", "HEAD", "POST", "DELETE", "OPTIONS")
_TAKEN = ("Authorization", "Content-Type", "Accept", "Prefer", "Idempotency-Key", "Last-Event-ID", "X-Request-Id",
          "X-API-Key", "If-None-Match", "Range")  # fmt: skip
_SHOWN = ("X-Request-Id", "Server-Timing", "Location", "Retry-After", "ETag", "Pellucid-Job", "Pellucid-Seed",
          "Pellucid-Model", "Pellucid-Degraded", "Idempotent-Replayed", "Preference-Applied")  # fmt: skip


def install(
    app: FastAPI, settings: Settings, metrics: Metrics, admit: Callable[[], Awaitable[None]] | None = None
) -> None:
    """Protect an application; call it before `RequestId` is added, which has to be the outermost layer.

    From the outside: the access log and the metrics, security headers, cross-origin answers where there are allowed
    origins, the gate (host, origin, key, scope, rate, room), the body's deadline.

    Args:
        app: with or without its routes.
        settings: what is allowed.
        metrics: where requests are counted.
        admit: raises a Problem when new work would be refused (`service.core.Service.admit`).

    Raises:
        KeyFileError: the file of API keys cannot be used.
    """
    origins = listed(settings.allowed_origins)
    app.add_middleware(Receipt, receive_seconds=settings.receive_seconds, idle_seconds=settings.idle_seconds)
    keys = Keys(settings.api_keys_file) if settings.api_keys_file and settings.auth != "off" else None
    app.add_middleware(Gate, settings=settings, keys=keys, admit=admit)
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=sorted(origins),
            allow_methods=_METHODS,
            allow_headers=_TAKEN,
            expose_headers=_SHOWN,
            max_age=600,
        )
    app.add_middleware(SecurityHeaders, shared=bool(origins))
    app.add_middleware(Access, metrics=metrics)


def principal(request: Request) -> Principal:
    """Who calls; a dependency for routes."""
    found = request.scope.get("state", {}).get("principal", ANYONE)
    assert isinstance(found, Principal)
    return found
