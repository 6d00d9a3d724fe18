"""Everything a client does, written once: `Client` carries it out blocking, `AsyncClient` awaiting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from pellucid_client import _calls as calls
from pellucid_client import _policy as policies
from pellucid_client import _requests as requests
from pellucid_client._calls import Deadline, call
from pellucid_client._effects import Blocking, Close, Effect, Emit, Operation, Request, Send
from pellucid_client._errors import (
    APIError,
    APIStatusError,
    ConflictError,
    InvalidInputError,
    JobCanceledError,
    JobExpiredError,
    JobFailedError,
    JobTimeoutError,
    NotFoundError,
)
from pellucid_client._models import JobInfo, JobPage, ModelInfo, ModelList, Report, Upload
from pellucid_client._parameters import RestoreOptions
from pellucid_client._policy import Policy
from pellucid_client._response import Response
from pellucid_client._sources import ImageSource, read_image

JSON = {"Accept": "application/json"}


def restore(source: ImageSource, task: str, options: RestoreOptions, policy: Policy) -> Operation[Response]:
    """Restore a picture and wait for it. Whoever is interrupted while waiting, or out of time, cancels the job.

    The first answer is waited for `LONG_POLL` seconds on the submitting connection; what takes longer is asked for
    again, so that no gateway's limit on silent connections matters.

    Returns:
        the answer with the picture.

    Raises:
        JobFailedError, JobCanceledError: the job ended without a picture.
        JobTimeoutError: the time is over; the job has been told to stop.
        APIError, InvalidInputError, OSError: see `call` and `requests.restoration`.
    """
    policy, deadline = start(policy, options)
    if options.get("on_event") is not None:
        job = yield from submit(source, task, options, policy, deadline)
        return (yield from _collect(job.id, options, policy, deadline))
    accepted = requests.accept(options.get("output_format"))
    wait = f"wait={max(1, int(deadline.capped(policies.LONG_POLL)))}"
    request = yield from requests.restoration(source, task, options, {"Accept": accepted, "Prefer": wait})
    while True:
        try:
            response = yield from call(request, policy, deadline)
            break
        except APIStatusError as error:
            if _cut_off(error) and "idempotency_key" not in options and deadline.allows(0.0):
                request = requests.anew(request)
                continue
            yield from _reason(error, policy)
            raise
    if response.status_code != 202:
        return response
    job = JobInfo.from_response(response)
    return (yield from _collect(job.id, options, policy, deadline))


def _cut_off(error: APIStatusError) -> bool:
    """Whether our own first attempt's broken connection cancelled the job that a later attempt found.

    A synchronous caller who hangs up cancels its job, and a broken connection looks like that to the server.
    """
    return error.attempts > 1 and error.code == "job_canceled"


def _reason(error: APIStatusError, policy: Policy) -> Operation[None]:
    """Whether the picture came synchronously or was fetched, a job that ended without one is the same error.

    Raises:
        JobFailedError, JobCanceledError, JobExpiredError: the problem is about a job that ended so.
    """
    job_id = error.problem.get("job")
    if not isinstance(job_id, str):
        return
    try:
        job = yield from get_job(job_id, policy)
    except APIError:
        return
    check(job, error)


def start(policy: Policy, options: Any) -> tuple[Policy, Deadline]:
    """The policy of one call and the time when it is over."""
    if "max_retries" in options:
        policy = replace(policy, max_retries=options["max_retries"])
    if "timeout" in options:
        policy = replace(policy, timeout=options["timeout"])
    return policy, Deadline.after(policy.timeout)


def _collect(job_id: str, options: RestoreOptions, policy: Policy, deadline: Deadline) -> Operation[Response]:
    """Wait for a job of our own and fetch its picture; stop it when nobody waits any more."""
    watcher = options.get("on_event")
    try:
        if watcher is None:
            job = yield from calls.wait(job_id, policy, deadline)
        else:
            job = yield from _watched(job_id, watcher, policy, deadline)
    except GeneratorExit:
        raise
    except JobTimeoutError as error:
        yield from _farewell(job_id)
        raise error.stopped() from error
    except BaseException:
        yield from _farewell(job_id)
        raise
    check(job)
    return (
        yield from fetch(
            job_id, "result", requests.accept(options.get("output_format")), policy, deadline.extended(policies.GRACE)
        )
    )


def _watched(job_id: str, watcher: Any, policy: Policy, deadline: Deadline) -> Operation[JobInfo]:
    """Follow the events of a job, handing them to a function instead of emitting them."""
    following = calls.events(job_id, policy, deadline)
    outcome: Any = None
    error: BaseException | None = None
    while True:
        try:
            effect: Effect = following.send(outcome) if error is None else following.throw(error)
        except StopIteration as end:
            job: JobInfo = end.value
            return job
        outcome, error = None, None
        if isinstance(effect, Emit):
            watcher(effect.item)
            continue
        try:
            outcome = yield effect
        except GeneratorExit:
            raise
        except BaseException as raised:
            error = raised


def _farewell(job_id: str) -> Operation[None]:
    """Tell the server that nobody waits; whether it hears is not ours to worry about."""
    yield Close()
    try:
        yield Send(Request("POST", f"/v1/jobs/{job_id}/cancel", headers=JSON), policies.FAREWELL)
    except APIError:
        return


def check(job: JobInfo, cause: Exception | None = None) -> None:
    """Nothing, for a job that succeeded.

    Args:
        job: that has ended.
        cause: what made us look.

    Raises:
        JobFailedError, JobCanceledError, JobExpiredError: otherwise.
    """
    errors = {"failed": JobFailedError, "canceled": JobCanceledError, "expired": JobExpiredError}
    if job.state in errors:
        raise errors[job.state](job) from cause


def submit(
    source: ImageSource, task: str, options: RestoreOptions, policy: Policy, deadline: Deadline | None = None
) -> Operation[JobInfo]:
    """Queue a restoration.

    Raises:
        APIError, InvalidInputError, OSError: see `call` and `requests.restoration`.
    """
    headers = {**JSON, "Prefer": "respond-async"}
    request = yield from requests.restoration(source, task, options, headers)
    return JobInfo.from_response((yield from call(request, policy, deadline)))


def result(job_id: str, policy: Policy, seconds: float | None) -> Operation[Response]:
    """A job's picture, once there is one; the job goes on when the time is over.

    Raises:
        JobFailedError, JobCanceledError, JobExpiredError: there will be none.
        JobTimeoutError: there is none yet.
        APIError: it cannot be fetched.
    """
    deadline = Deadline.after(seconds)
    check((yield from calls.wait(requests.check_job_id(job_id), policy, deadline)))
    return (yield from fetch(job_id, "result", requests.accept(None), policy))


def fetch(
    job_id: str, what: str, accepted: str, policy: Policy, deadline: Deadline | None = None
) -> Operation[Response]:
    """The picture ("result"), the uncertainty map or the report of a job.

    Raises:
        APIError: among them 409, not finished, and 410, no longer kept.
    """
    path = f"/v1/jobs/{requests.check_job_id(job_id)}/{what}"
    return (yield from call(Request("GET", path, headers={"Accept": accepted}), policy, deadline))


def report(job_id: str, policy: Policy) -> Operation[Report]:
    """How a restoration came about."""
    return Report.from_response((yield from fetch(job_id, "report", "application/json", policy)))


def get_job(job_id: str, policy: Policy) -> Operation[JobInfo]:
    """A job as it is now."""
    path = f"/v1/jobs/{requests.check_job_id(job_id)}"
    return JobInfo.from_response((yield from call(Request("GET", path, headers=JSON), policy)))


def list_jobs(state: str | None, limit: int, cursor: str | None, policy: Policy) -> Operation[JobPage]:
    """Some jobs, newest first."""
    params = requests.query(state=state, limit=limit, cursor=cursor)
    return JobPage.from_response((yield from call(Request("GET", "/v1/jobs", params, JSON), policy)))


def each_job(state: str | None, page: int, policy: Policy) -> Operation[None]:
    """Emit all jobs, newest first, asking for them page by page."""
    cursor = None
    while True:
        found = yield from list_jobs(state, page, cursor, policy)
        for job in found.data:
            yield Emit(job)
        cursor = found.next_cursor
        if not found.has_more or cursor is None:
            return


def cancel(job_id: str, policy: Policy) -> Operation[JobInfo]:
    """Ask a job to stop.

    Raises:
        ConflictError: it had ended before.
    """
    path = f"/v1/jobs/{requests.check_job_id(job_id)}/cancel"
    try:
        return JobInfo.from_response((yield from call(Request("POST", path, headers=JSON), policy)))
    except ConflictError as error:
        # Our first attempt may have cancelled it, and only its answer been lost.
        if error.attempts > 1:
            job = yield from get_job(job_id, policy)
            if job.state == "canceled":
                return job
        raise


def delete(job_id: str, policy: Policy) -> Operation[None]:
    """Have the server forget a job's pictures now."""
    path = f"/v1/jobs/{requests.check_job_id(job_id)}"
    try:
        yield from call(Request("DELETE", path, headers=JSON), policy)
    except NotFoundError as error:
        if error.attempts == 1:
            raise


def upload(source: ImageSource, policy: Policy) -> Operation[Upload]:
    """Send a picture once, to restore it several times. An upload whose answer is lost is forgotten by the server."""
    part = yield Blocking(lambda: read_image(source))
    headers = {**JSON, "Content-Type": part.media_type}
    request = Request("POST", "/v1/uploads", headers=headers, content=part.data)
    return Upload.from_response((yield from call(request, policy)))


def list_models(policy: Policy) -> Operation[list[ModelInfo]]:
    """What the server can restore with."""
    return ModelList.from_response((yield from call(Request("GET", "/v1/models", headers=JSON), policy))).data


def get_model(name: str, policy: Policy) -> Operation[ModelInfo]:
    """One model."""
    path = f"/v1/models/{quote(name, safe='')}"
    return ModelInfo.from_response((yield from call(Request("GET", path, headers=JSON), policy)))


def raw(
    method: str,
    path: str,
    params: Mapping[str, Any] | None,
    headers: Mapping[str, str] | None,
    content: bytes | None,
    policy: Policy,
) -> Operation[Response]:
    """Anything. A POST without a key is sent once: nobody knows what a second one would do."""
    if not path.startswith("/"):
        raise InvalidInputError(f"path={path!r}: it begins with a slash")
    request = Request(method.upper(), path, params or {}, headers or {}, content=content)
    repeatable = request.method in ("GET", "HEAD", "PUT", "DELETE", "OPTIONS") or any(
        name.lower() == "idempotency-key" for name in request.headers
    )
    return (yield from call(request, policy if repeatable else replace(policy, max_retries=0)))
