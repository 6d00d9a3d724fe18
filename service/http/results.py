"""What a job made: the picture, the uncertainty map, the report."""

from __future__ import annotations

import hashlib
import json
import re

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from service.http import answers
from service.http.jobs import JobId, find, require_json
from service.http.negotiation import IMAGES, JSON, Accept
from service.http.openapi import described
from service.http.vocabulary import HEADERS, parameters
from service.jobs.model import Job, JobState
from service.problems import Code, Problem
from service.schemas.job import JobResource

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["Results"])

_RANGE = re.compile(r"^bytes=(\d{0,15})-(\d{0,15})$")


def check_succeeded(job: Job) -> None:
    """Refuse while there is no result.

    Raises:
        Problem: NOT_FINISHED, JOB_FAILED, JOB_CANCELED, EXPIRED.
    """
    match job.state:
        case JobState.SUCCEEDED:
            return
        case JobState.FAILED:
            why = f": {job.error.message}" if job.error else ""
            raise Problem(Code.JOB_FAILED, f"the job failed{why}")
        case JobState.CANCELED:
            raise Problem(Code.JOB_CANCELED, "the job was canceled and has no result")
        case JobState.EXPIRED:
            raise Problem(Code.EXPIRED, "the job's files have been removed")
        case _:
            raise Problem(Code.NOT_FINISHED, f"the job is {job.state}; ask again", retry_after=1.0)


@router.get(
    "/result",
    response_class=Response,
    summary="The restored picture",
    responses=described(
        {200: HEADERS["picture"], 206: HEADERS["part"], 304: HEADERS["etag"]},
        400, 404, 406, 409, 410, 503,
        content={200: [*IMAGES.values(), JSON], 206: list(IMAGES.values())},
    ),
    openapi_extra=parameters("if_none_match", "range"),
)  # fmt: skip
async def result(request: Request, job_id: JobId) -> Response:
    """The picture as it was made, or the job as JSON where Accept prefers that. Parts of it with Range: bytes=a-b."""
    accept = Accept(request.headers.get("accept"))
    given, job = await find(request, job_id)
    check_succeeded(job)
    as_picture, as_json = accept.q(job.media_type), accept.q(JSON)
    if as_picture == as_json == 0.0:
        raise Problem(Code.NOT_ACCEPTABLE, f"the result is {job.media_type}; {JSON} describes it")
    headers = answers.job_headers(job)
    if as_json > as_picture:
        return Response(JobResource.of(job).model_dump_json(), 200, headers, JSON)
    return await _bytes(request, await answers.load(given.service.blobs, job, "result"), job.media_type, job)


@router.get(
    "/uncertainty",
    response_class=Response,
    summary="Where the posterior samples disagree",
    responses=described(
        {200: HEADERS["picture"], 206: HEADERS["part"], 304: HEADERS["etag"]},
        400, 404, 406, 409, 410, 503,
        content={200: "image/png", 206: "image/png"},
    ),
    openapi_extra=parameters("if_none_match", "range"),
)  # fmt: skip
async def uncertainty(request: Request, job_id: JobId) -> Response:
    """Standard deviation over the samples, as a 16-bit grey PNG whose text chunk "Scale" gives the unit on the 0-255
    scale. 404 for jobs of one sample."""
    if Accept(request.headers.get("accept")).q("image/png") == 0.0:
        raise Problem(Code.NOT_ACCEPTABLE, "the answer is image/png")
    given, job = await find(request, job_id)
    check_succeeded(job)
    if "uncertainty" not in job.outputs:
        raise Problem(Code.NOT_FOUND, "one sample has no uncertainty; ask for samples=8, say")
    return await _bytes(request, await answers.load(given.service.blobs, job, "uncertainty"), "image/png", job)


@router.get(
    "/report",
    response_class=Response,
    summary="How the result came about",
    responses=described({200: HEADERS["job"]}, 400, 404, 406, 409, 410, 503, content={200: JSON}),
)
async def report(request: Request, job_id: JobId) -> Response:
    """Effective parameters, what was found in the picture, seed, denoiser calls, residual against the measurement, the
    prior and its digest: everything needed to make it again."""
    require_json(request)
    _, job = await find(request, job_id)
    check_succeeded(job)
    return Response(json.dumps(job.effective, allow_nan=False), 200, answers.job_headers(job), JSON)


async def _bytes(request: Request, data: bytes, media_type: str, job: Job) -> Response:
    """A file or a part of it; a Range that makes no sense is ignored, as RFC 9110, section 14.2 allows."""
    etag = f'"{job.sha256}"' if media_type == job.media_type and job.sha256 else f'"{hashlib.sha256(data).hexdigest()}"'
    headers = answers.job_headers(job) | {"ETag": etag, "Accept-Ranges": "bytes"}
    if answers.not_modified(request, etag):
        return Response(None, 304, headers)
    headers["Content-Disposition"] = f'inline; filename="{job.id}.{answers.extension(media_type)}"'
    span = _span(request.headers.get("range", ""), len(data))
    if span is None or request.headers.get("if-range", etag) != etag:
        return Response(data, 200, headers, media_type)
    first, last = span
    headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
    return Response(data[first : last + 1], 206, headers, media_type)


def _span(header: str, length: int) -> tuple[int, int] | None:
    match = _RANGE.match(header.strip())
    if not match or not (match[1] or match[2]):
        return None
    if not match[1]:
        count = min(int(match[2]), length)
        return (length - count, length - 1) if count else None
    first = int(match[1])
    last = min(int(match[2]), length - 1) if match[2] else length - 1
    return (first, last) if first <= last else None
