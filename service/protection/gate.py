"""Every request passes here before anything is read of its body: host, origin, key, scope, rate, room."""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.http.errors import answer
from service.problems import Code, Problem
from service.protection.hosts import check_host, check_origin, is_loopback, listed
from service.protection.keys import ANYONE, Keys, Principal
from service.protection.paths import is_public, is_submission, key_of, scope_needed
from service.protection.quota import Quota
from service.settings import Settings

Admit = Callable[[], Awaitable[None]]

_ROOM = 64
"""Submissions in the server at once besides `max_queue` waiting ones: those being examined and answered."""
_RECEIVING = 1024
"""Submissions being received at once. They count apart: slow clients must not take the room of those that are there."""


class Gate:
    """ASGI middleware.

    Args:
        app: what lies behind.
        settings: hosts, origins, keys, limits.
        keys: known API keys; None for none.
        admit: raises a Problem when new work would be refused.
    """

    def __init__(self, app: ASGIApp, settings: Settings, keys: Keys | None = None, admit: Admit | None = None) -> None:
        self._app, self._settings, self._keys, self._admission = app, settings, keys, admit
        self._hosts, self._origins = listed(settings.allowed_hosts), listed(settings.allowed_origins)
        self._quota = Quota(settings.requests_per_minute)
        self._submissions = self._receiving = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                return  # there are none; the server answers 403
            await self._app(scope, receive, send)
            return
        submission = False
        try:
            self._admit(scope)
            submission = is_submission(scope)
            if submission:
                await self._check_room(scope)
        except Problem as problem:
            await answer(Request(scope), problem)(scope, receive, send)
            return
        if not submission:
            await self._app(scope, receive, send)
            return
        whole = False
        self._receiving += 1

        async def receive_counted() -> Message:
            nonlocal whole
            message = await receive()
            if not whole and not (message["type"] == "http.request" and message.get("more_body", False)):
                whole = True
                self._receiving -= 1
                self._submissions += 1
            return message

        try:
            await self._app(scope, receive_counted, send)
        finally:
            if whole:
                self._submissions -= 1
            else:
                self._receiving -= 1

    def _admit(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        loopback = self._at_loopback(scope)
        check_host(host, loopback=loopback, allowed=self._hosts)
        check_origin(headers.get("origin"), host, self._origins)
        path = scope["path"]
        principal = self._principal(headers, path, loopback)
        state = scope.setdefault("state", {})
        state["principal"], state["owner"] = principal, principal.id
        needed = scope_needed(scope)
        if needed is not None and needed not in principal.scopes:
            raise Problem(Code.FORBIDDEN, f"this key does not have the scope {needed}")
        if not is_public(path) and path != "/metrics":
            self._count(scope, principal)

    def _at_loopback(self, scope: Scope) -> bool:
        """By the address that the connection really came in at: uvicorn may have been told another than we were."""
        if not is_loopback(self._settings.host):
            return False
        server = scope.get("server")
        try:
            return server is None or ipaddress.ip_address(server[0]).is_loopback
        except ValueError:
            return True  # a socket of this machine, or a name that a test made up

    def _principal(self, headers: Headers, path: str, loopback: bool) -> Principal:
        policy = self._settings.auth
        if policy == "off" or (policy == "auto" and loopback and self._keys is None):
            return ANYONE
        given, public = key_of(headers, path), is_public(path)
        if given is None and (public or (policy == "auto" and loopback)):
            return ANYONE
        found = self._keys.authenticate(given) if self._keys and given else None
        if found is None and not public:
            words = "this API key is not valid" if given else "an API key is needed: Authorization: Bearer plk_..."
            raise Problem(Code.UNAUTHENTICATED, words)
        return found or Principal("", frozenset())

    def _count(self, scope: Scope, principal: Principal) -> None:
        """A request of a key, or of an address that is not this machine's own."""
        caller = principal.id
        if not caller:
            client = scope.get("client")
            if client is None or is_loopback(client[0]):
                return
            caller = f"address {client[0]}"
        wait = self._quota.take(caller)
        if wait:
            most = self._settings.requests_per_minute
            raise Problem(Code.QUOTA, f"more than {most} requests a minute", retry_after=wait)

    async def _check_room(self, scope: Scope) -> None:
        """Refuse what would only wait to be refused, before its body is received."""
        if self._submissions >= self._settings.max_queue + _ROOM or self._receiving >= _RECEIVING:
            raise Problem(Code.SATURATED, "the server has all the work it can take", retry_after=2.0)
        if self._admission is not None and "idempotency-key" not in Headers(scope=scope):
            await self._admission()  # with a key an earlier job would be found even now
