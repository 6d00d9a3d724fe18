"""POST /restore and its typed facades: one handler from the body to one of five answers."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from anyio import to_thread
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from service.blobs import BlobStore
from service.http import answers, budget
from service.http.answers import Context
from service.http.bodies import Shape, receive, shape_of
from service.http.errors import answer, request_id
from service.http.events import EventStream
from service.http.models import check_prior
from service.http.negotiation import KEY_PATTERN, Accept, Kind, Prefer
from service.http.openapi import restore_operation
from service.http.parts import Parts, check_takes_work, owner, parts
from service.http.pictures import Submitted
from service.http.waiting import Gone
from service.jobs.model import JobState, NewJob, OutputOptions, Priority
from service.jobs.store import Submission
from service.problems import Code, Problem
from service.schemas.parameters import HANDLING, PARAMETERS

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
    """Receive, check and queue."""
    body = await receive(request, given.settings.max_bytes)
    try:
        async with given.intake_slots:
            submitted = await given.reader.read(body, task, owner(request))
            own_calls = check_prior(submitted.parameters, given.settings)
            budget.check(submitted.parameters, submitted.image, given.settings, own_calls)
            asked = submitted.parameters.output_format
            native = submitted.image.format
            if kind is Kind.IMAGE:
                output = accept.image_format(native, asked)
            else:
                output = asked or (native if native in ("png", "jpeg", "webp", "tiff", "avif") else "png")
            new = await new_job(request, given, submitted, output, key)
    finally:
        body.close()
    submission = await queue(given, new)
    return submission, Context(prefer, submission.replayed, submitted.parameters.inline)


async def queue(given: Parts, new: NewJob) -> Submission:
    """Queue a job; its pictures are removed again when there will be none.

    Raises:
        Problem: SATURATED, QUOTA, IDEMPOTENCY_MISMATCH, ...
    """
    try:
        submission = await given.service.submit(new)
    except Problem:
        await _forget(given, new.inputs)
        raise
    if submission.replayed:
        await _forget(given, new.inputs)
    return submission


async def new_job(request: Request, given: Parts, submitted: Submitted, output: str, key: str | None) -> NewJob:
    """What a request submits, its pictures stored.

    Args:
        request: whose it is.
        given: of the application.
        submitted: checked.
        output: format of the result.
        key: for idempotency.

    Raises:
        Problem: INVALID_PARAMETER, a webhook that this server cannot sign; URL_REFUSED, one that it will not send to.
    """
    parameters = submitted.parameters
    dumped = parameters.model_dump(exclude={"image", "mask", "kernel"})
    if parameters.webhook is not None:
        if given.settings.webhook_secret is None:
            error = {"field": "webhook", "message": "this server signs no webhooks: PELLUCID_WEBHOOK_SECRET is not set"}
            raise Problem(Code.INVALID_PARAMETER, f"webhook: {error['message']}", errors=[error])
        await given.webhooks.check(parameters.webhook)
    digests, stored = await to_thread.run_sync(_store, given.service.blobs, submitted.inputs)
    return NewJob(
        task=parameters.task,
        parameters={name: value for name, value in dumped.items() if name not in HANDLING},
        inputs=stored,
        owner=owner(request),
        prior=parameters.prior,
        priority=Priority(parameters.priority),
        output=OutputOptions(output, parameters.output_quality, parameters.keep_gps),
        width=submitted.image.width,
        height=submitted.image.height,
        format=submitted.image.format,
        previews=parameters.previews,
        webhook=parameters.webhook,
        request_id=request_id(request),
        idempotency_key=key,
        fingerprint=fingerprint(dumped | {"output_format": output}, digests),
    )


def fingerprint(parameters: Mapping[str, Any], digests: Mapping[str, str]) -> str:
    """sha256 over a submission: its parameters, the result's format among them, and its pictures' digests."""
    said = {name: value for name, value in parameters.items() if name != "inline"}
    canonical = json.dumps({"parameters": said, "inputs": dict(digests)}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _store(blobs: BlobStore, inputs: Mapping[str, bytes]) -> tuple[dict[str, str], dict[str, str]]:
    """sha256 and blob reference of every picture."""
    digests = {role: hashlib.sha256(data).hexdigest() for role, data in inputs.items()}
    return digests, {role: blobs.put(data, "input") for role, data in inputs.items()}


async def _forget(given: Parts, inputs: Mapping[str, str]) -> None:
    """Remove the pictures of a submission that made no job."""
    for reference in inputs.values():
        await to_thread.run_sync(given.service.blobs.delete, reference)


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
