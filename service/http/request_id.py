"""The outermost layer: every request has an id, every answer carries it, and no exception leaves as anything else than
a problem."""

from __future__ import annotations

import logging
import re
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.http.errors import answer
from service.problems import Code, Problem

_GOOD = re.compile(r"[A-Za-z0-9._:-]{1,128}")


class RequestId:
    """Takes X-Request-Id from the client where it is well-formed, else mints one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _GOOD.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        started = False

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except ClientDisconnect:
            # Nobody is left to answer.
            return
        except Exception:
            logging.getLogger("pellucid.http").exception("request %s failed", request_id)
            if started:
                # Half an answer cannot be taken back; closing the connection tells the client that it is not whole.
                raise
            problem = Problem(Code.INTERNAL, f"a mistake of the server; name the request id {request_id} to report it")
            await answer(Request(scope), problem)(scope, receive, send_with_id)
