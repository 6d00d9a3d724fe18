"""POST /restore and its typed facades: one handler from the body to one of five answers."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from service.http import answers, budget
from service.http.answers import Context
from service.http.bodies import Shape, receive, shape_of
from service.http.errors import answer
from service.http.events import EventStream
from service.http.models import check_prior
from service.http.negotiation import KEY_PATTERN, Accept, Kind, Prefer
from service.http.openapi import restore_operation
from service.http.parts import Parts, check_takes_work, owner, parts
from service.http.pictures import Submitted
from service.http.submission import let_in, new_job, queue, storing
from service.http.waiting import Gone
from service.jobs.model import JobState
from service.jobs.store import Submission
from service.problems import Code, Problem
from service.schemas.parameters import PARAMETERS

router = APIRouter(tags=["Restore"])


def _handler(task: str | None) -> Callable[[Request], Awaitable[Response]]:
    async def handle(request: Request) -> Response:
        return await restore(request, task)

    handle.__name__ = "restore" if task is None else task.replace("-", "_")
    return handle


async def restore(request: Request, task: str | None) -> Response:
    """Submit what a request describes, and answer as it wants to be answered.

    Args:
        request: with any of the three bodies.
        task: of a facade; None for the one that the body names.

    Raises:
        Problem: see docs/api.md.
    """
    given = parts(request)
    accept = Accept(request.headers.get("accept"))
    prefer = Prefer.parse(",".join(request.headers.getlist("prefer")) or None)
    kind = accept.kind(Kind.JSON if shape_of(request) is Shape.JSON else Kind.IMAGE)
    key = idempotency_key(request)
    check_takes_work(given)
    submission, context = await _submit(request, given, task, accept, kind, key, prefer)
    job, waiters = submission.job, given.waiters
    seconds = prefer.seconds(given.settings.sync_seconds)
    if kind is Kind.EVENTS and not (prefer.respond_async and seconds == 0.0):
        return _stream(given, submission, context)
    if seconds == 0.0:
        waiters.keep(job.id)
        return answers.accepted(job, context)
    if not submission.replayed:
        waiters.own(job.id)
    try:
        job = await waiters.wait(job.id, seconds, request.receive, fresh=not submission.replayed)
    except Gone:
        return Response(status_code=499)
    if not job.state.ended:
        waiters.keep(job.id)
        return answers.accepted(job, context)
    if job.state is not JobState.SUCCEEDED:
        return answer(request, answers.failure(job), job.id)
    return await answers.finished(job, given.service.blobs, kind is Kind.JSON, context)


async def _submit(
    request: Request, given: Parts, task: str | None, accept: Accept, kind: Kind, key: str | None, prefer: Prefer
) -> tuple[Submission, Context]:
    """Receive, check and queue. What is received late is refused here if there is no room any more; a key may find an
    earlier job even then."""
    body = await receive(request, given.settings.max_bytes)
    async with AsyncExitStack() as stack:
        stack.callback(body.close)
        if key is None:
            await given.service.admit(given.arriving)
        stack.enter_context(let_in(given))
        async with given.intake_slots:
            parameters, inputs = await given.reader.read(body, task, owner(request))
            stored = await stack.enter_async_context(storing(given.service.blobs, inputs))
            image = await given.reader.examine(inputs)
            budget.check(parameters, image, given.settings, check_prior(parameters, given.settings))
            asked, native = parameters.output_format, image.format
            if kind is Kind.IMAGE:
                output = accept.image_format(native, asked)
            else:
                output = asked or (native if native in ("png", "jpeg", "webp", "tiff", "avif") else "png")
            new = await new_job(request, given, Submitted(parameters, image), stored, output, key)
        submission = await queue(given, new, stored)
    return submission, Context(prefer, submission.replayed, parameters.inline)


def _stream(given: Parts, submission: Submission, context: Context) -> Response:
    """Events from the beginning; a client that hangs up cancels the job, as with any synchronous answer."""
    job, waiters = submission.job, given.waiters
    if not submission.replayed:
        waiters.own(job.id)
    return AttachedStream(given, job.id, answers.job_headers(job, context))


class AttachedStream(EventStream):
    """Events for the client that submitted the job and waits for it."""

    def __init__(self, given: Parts, job_id: str, headers: dict[str, str]) -> None:
        super().__init__(given.service, given.drain, job_id, 0, headers, self._hang_up)
        self._waiters = given.waiters

    async def _hang_up(self) -> None:
        raise Gone

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            with self._waiters.attached(self._job_id):
                await super().__call__(scope, receive, send)
        except Gone:
            return


def idempotency_key(request: Request) -> str | None:
    """The key of a request, if it has one.

    Raises:
        Problem: MALFORMED_REQUEST.
    """
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    if not re.match(KEY_PATTERN, key):
        raise Problem(
            Code.MALFORMED_REQUEST, "Idempotency-Key: 1 to 255 visible ASCII characters without quotation marks"
        )
    return key.strip('"')


for _path, _task in [("/restore", None), ("/v1/restore", None), *((f"/v1/{name}", name) for name in PARAMETERS)]:
    if _task == "auto":
        continue
    _own = _handler(_task)
    router.add_api_route(
        _path,
        _own,
        methods=["POST"],
        operation_id=_own.__name__ + ("_root" if _path == "/restore" else ""),
        response_model=None,
        **restore_operation(_task),
    )
