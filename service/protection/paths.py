"""What a request's path says about the key it needs, and where the key stands."""

from __future__ import annotations

import base64

from starlette.datastructures import Headers
from starlette.types import Scope

from service.protection import keys

#: What needs no key: health, the description of the interface, the web page itself.
_PUBLIC = ("/", "/livez", "/readyz", "/openapi.json", "/docs")
_PUBLIC_BELOW = ("/v2/health/", "/problems/", "/docs/", "/web/")
#: Where the clients of others know basic authentication only: its password is the key. Browsers are never asked for
#: one, so none keeps it and sends it along unasked.
_PASSWORD_BELOW = ("/sdapi/",)


def key_of(headers: Headers, path: str) -> str | None:
    """The API key of a request: a bearer token, X-API-Key, or, where clients know nothing else, a password."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    if scheme.lower() == "basic" and takes_password(path):
        return _password(token)
    return headers.get("x-api-key")


def takes_password(path: str) -> bool:
    """Whether a key may come as the password of basic authentication."""
    return path.startswith(_PASSWORD_BELOW)


def _password(token: str) -> str | None:
    """Of "name:password" in base64 (RFC 7617)."""
    try:
        given = base64.b64decode(token.strip(), validate=True).decode()
    except ValueError:
        return None
    return given.partition(":")[2] or None


def is_public(path: str) -> bool:
    """Whether a path needs no key."""
    return path in _PUBLIC or path.startswith(_PUBLIC_BELOW)


def is_submission(scope: Scope) -> bool:
    """Whether a request brings work: a POST to anything but a job or the priors."""
    return scope["method"] == "POST" and not scope["path"].startswith(("/v1/jobs/", "/v1/models"))


def scope_needed(scope: Scope) -> keys.Scope | None:
    """What a key must allow for a request; None where any key will do."""
    path = scope["path"]
    if path.startswith("/v1/models") and scope["method"] in ("POST", "DELETE"):
        return keys.Scope.ADMIN
    if is_public(path) or path.startswith(("/v1/models", "/v2")):
        return None
    if path == "/metrics":
        return keys.Scope.ADMIN
    if path == "/v1/jobs" or path.startswith("/v1/jobs/"):
        return keys.Scope.JOBS
    return keys.Scope.RESTORE
