"""/v1/jobs: look, wait, follow, cancel, delete."""

from __future__ import annotations

import hashlib
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Path, Query
from starlette.requests import Request
from starlette.responses import Response

from service.http import answers
from service.http.events import EventStream, last_event_id
from service.http.negotiation import EVENTS, JSON, Accept, Prefer
from service.http.openapi import described
from service.http.parts import Parts, check_open, owner, parts
from service.http.vocabulary import HEADERS, JOB_LINKS, parameters
from service.http.waiting import Gone
from service.jobs.model import Job, JobState
from service.jobs.store import Cancellation
from service.problems import Code, Problem
from service.schemas.job import EXAMPLE_ID, JobPage, JobResource

router = APIRouter(prefix="/v1/jobs", tags=["Jobs"])

#: Longest long-poll, in seconds: below the minute after which proxies commonly give up.
LONGEST_POLL = 55.0

JobId = Annotated[str, Path(description="Of the job.", json_schema_extra={"format": "uuid"}, examples=[EXAMPLE_ID])]


async def find(request: Request, job_id: str) -> tuple[Parts, Job]:
    """A job of the caller's.

    Raises:
        Problem: NOT_FOUND, also for jobs of other keys; DRAINING.
    """
    given = parts(request)
    check_open(given)
    job = await to_thread.run_sync(given.service.store.get, job_id) if len(job_id) == 36 else None
    if job is None or job.spec.owner != owner(request):
        raise Problem(Code.NOT_FOUND, "there is no such job")
    return given, job


def require_json(request: Request) -> None:
    """For answers that are JSON whatever is asked for.

    Raises:
        Problem: NOT_ACCEPTABLE.
    """
    if Accept(request.headers.get("accept")).q(JSON) == 0.0:
        raise Problem(Code.NOT_ACCEPTABLE, f"the answer is {JSON}")


@router.get(
    "",
    response_model=JobPage,
    summary="List jobs, newest first",
    responses=described({200: HEADERS["private"]}, 400, 406, 422, 503),
)
async def list_jobs(
    request: Request,
    state: Annotated[JobState | None, Query(description="Only jobs in this state.")] = None,
    cursor: Annotated[
        str | None, Query(max_length=256, pattern=r"^[A-Za-z0-9._=-]+$", description="next_cursor of the page before.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=100, description="Jobs on a page.")] = 20,
) -> Response:
    """Jobs of the caller's key."""
    require_json(request)
    given = parts(request)
    check_open(given)
    page = await to_thread.run_sync(
        lambda: given.service.store.list(owner=owner(request), state=state, cursor=cursor, limit=limit)
    )
    body = JobPage(
        data=[JobResource.of(job) for job in page.jobs],
        has_more=page.next_cursor is not None,
        next_cursor=page.next_cursor,
    )
    return Response(body.model_dump_json(), 200, {"Cache-Control": answers.PRIVATE}, JSON)


@router.get(
    "/{job_id}",
    response_model=JobResource,
    summary="A job, now or once it has ended",
    responses=described({200: HEADERS["job"], 304: HEADERS["etag"]}, 400, 404, 406, 503, links=JOB_LINKS),
    openapi_extra=parameters("prefer_wait", "if_none_match"),
)
async def get_job(request: Request, job_id: JobId) -> Response:
    """With Prefer: wait=20 the answer comes once the job has ended, or after 20 seconds with the job as it is."""
    require_json(request)
    given, job = await find(request, job_id)
    prefer = Prefer.parse(",".join(request.headers.getlist("prefer")) or None)
    headers = {}
    if prefer.wait:
        headers["Preference-Applied"] = f"wait={prefer.wait}"
        if not job.state.ended:
            try:
                job = await given.waiters.wait(job_id, min(prefer.wait, LONGEST_POLL), request.receive)
            except Gone:
                return Response(status_code=499)
    body = JobResource.of(job).model_dump_json().encode()
    etag = f'W/"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers |= answers.job_headers(job) | {"ETag": etag}
    if answers.not_modified(request, etag):
        return Response(None, 304, headers)
    if not job.state.ended:
        headers["Retry-After"] = "1"
    return Response(body, 200, headers, JSON)


@router.get(
    "/{job_id}/events",
    response_class=Response,
    summary="What happens to a job, as server-sent events",
    responses=described({200: HEADERS["job"]}, 400, 404, 406, 503, content={200: EVENTS}),
    openapi_extra=parameters("last_event_id"),
)
async def follow(request: Request, job_id: JobId) -> Response:
    """The events so far, those to come, and "completed" with the job. After a lost connection, Last-Event-ID goes on
    behind the last event received. A comment comes after 15 seconds of silence."""
    if Accept(request.headers.get("accept")).q(EVENTS) == 0.0:
        raise Problem(Code.NOT_ACCEPTABLE, f"the answer is {EVENTS}")
    given, job = await find(request, job_id)
    after = last_event_id(request.headers.get("last-event-id"))
    return EventStream(given.service, given.drain, job_id, after, answers.job_headers(job))


@router.post(
    "/{job_id}/cancel",
    status_code=202,
    response_model=JobResource,
    summary="Cancel a job",
    responses=described({202: HEADERS["job"]}, 400, 404, 406, 409, 503),
)
async def cancel(request: Request, job_id: JobId) -> Response:
    """A queued job ends at once, a running one within one denoiser call; 409 when it has ended already."""
    require_json(request)
    given, _ = await find(request, job_id)
    done = await given.service.cancel(job_id)
    if done is Cancellation.UNKNOWN:
        raise Problem(Code.NOT_FOUND, "there is no such job")
    if done is Cancellation.ENDED:
        raise Problem(Code.ALREADY_ENDED, "the job has ended: there is nothing to cancel")
    job = await given.service.wait(job_id, 0.0)
    headers = answers.job_headers(job) | {"Location": f"/v1/jobs/{job_id}"}
    return Response(JobResource.of(job).model_dump_json(), 202, headers, JSON)


@router.delete(
    "/{job_id}",
    status_code=204,
    response_class=Response,
    summary="Remove a job's files now",
    responses=described({204: HEADERS["private"]}, 404, 409, 503),
)
async def delete(request: Request, job_id: JobId) -> Response:
    """Input and output are removed and the job is expired. 409 while it runs: cancel it first."""
    given, _ = await find(request, job_id)
    references = await to_thread.run_sync(given.service.store.purge, job_id)
    if references is None:
        raise Problem(Code.NOT_FINISHED, "the job is running: cancel it first, then delete it", retry_after=1.0)
    for reference in references:
        await to_thread.run_sync(given.service.blobs.delete, reference)
    return Response(status_code=204, headers={"Cache-Control": answers.PRIVATE})
