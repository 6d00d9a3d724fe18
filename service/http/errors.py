"""Every error as RFC 9457 problem details: what is raised anywhere becomes `application/problem+json` here."""

from __future__ import annotations

import errno
import logging
import math
import re
from collections.abc import Mapping, Sequence

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route

from service.http.validation import field_errors
from service.problems import Code, Problem
from service.schemas.problem import FieldError, ProblemDetails

MEDIA_TYPE = "application/problem+json"

#: Seconds after which a request that met a busy, starting or draining server may be tried again, where nothing better
#: is known.
RETRY_AFTER = 1.0

#: The same where the database or the disk must first be mended, or a stopped process lets go of them.
STORAGE_RETRY_AFTER = 10.0

#: Paths of the Open Inference Protocol, whose clients want an error's words under a name of their own.
INFERENCE = re.compile(r"/v2(/|$)")

_OF_STATUS = {
    400: Code.MALFORMED_REQUEST,
    404: Code.NOT_FOUND,
    405: Code.METHOD_NOT_ALLOWED,
    406: Code.NOT_ACCEPTABLE,
    413: Code.TOO_LARGE,
    415: Code.UNSUPPORTED_MEDIA_TYPE,
    422: Code.INVALID_PARAMETER,
}

#: What each code means; served at /problems/{code} and repeated in docs/api.md.
MEANING: Mapping[Code, str] = {
    Code.MALFORMED_REQUEST: "The request is not well-formed HTTP, JSON or multipart, or a header makes no sense.",
    Code.UNAUTHENTICATED: "A valid API key is needed: Authorization: Bearer KEY.",
    Code.FORBIDDEN: "The API key does not allow this.",
    Code.HOST_NOT_ALLOWED: "The Host header names no host that this server answers for.",
    Code.ORIGIN_NOT_ALLOWED: "Browsers may not call this server from that origin.",
    Code.NOT_FOUND: "There is no such path, job or prior, or it belongs to another key.",
    Code.METHOD_NOT_ALLOWED: "The path exists, but not for this method; Allow lists those it takes.",
    Code.NOT_ACCEPTABLE: "Nothing that can be made is accepted by the Accept header.",
    Code.REQUEST_TIMEOUT: "The request's headers or body did not arrive in time.",
    Code.NOT_FINISHED: "The job has not ended yet; ask again after Retry-After, or long-poll the job.",
    Code.ALREADY_ENDED: "The job has ended: there is nothing to cancel.",
    Code.JOB_FAILED: "The job failed and has no result; its error says why.",
    Code.JOB_CANCELED: "The job was canceled and has no result.",
    Code.EXPIRED: "The job's files have been removed.",
    Code.TOO_LARGE: "More bytes than the server takes.",
    Code.UNSUPPORTED_MEDIA_TYPE: "By its first bytes, the file is not a picture of a supported format.",
    Code.UNDECODABLE_IMAGE: "The picture is damaged, truncated or takes too much to decode.",
    Code.IMAGE_SIZE: "The picture, or what would become of it, has too many pixels or too few.",
    Code.IMAGE_VALUES: "The picture's values or channels cannot be used.",
    Code.TOO_MANY_FRAMES: "The file is an animation or has several pages; one picture is taken.",
    Code.INVALID_PARAMETER: "A field is unknown, missing or out of range; errors lists them.",
    Code.UNKNOWN_PRIOR: "No prior of that name is installed; GET /v1/models lists them.",
    Code.PRIOR_PROTECTED: "The prior came with the server or is its default; it cannot be removed.",
    Code.OFFLINE: "This server opens no connection to the outside (PELLUCID_OFFLINE).",
    Code.WORK_BUDGET: "Output megapixels times denoiser calls exceed what one job may cost.",
    Code.IDEMPOTENCY_MISMATCH: "The Idempotency-Key was used before with other bytes or parameters.",
    Code.URL_REFUSED: "The URL is not allowed: its scheme, its port or its address, or this server fetches none.",
    Code.URL_UNREACHABLE: "The URL could not be fetched: no connection, no answer in time, or an error.",
    Code.UNKNOWN_UPLOAD: "There is no such upload, or it has expired.",
    Code.QUOTA: "This API key has too many requests or jobs at the moment; wait for Retry-After.",
    Code.SATURATED: "The server has all the work it can take; try again after Retry-After.",
    Code.STARTING: "No worker is ready yet; try again after Retry-After.",
    Code.DRAINING: "The server is shutting down; try again after Retry-After.",
    Code.STORAGE_UNAVAILABLE: "The database does not answer or the disk is full; try again after Retry-After.",
    Code.INTERNAL: "A mistake of the server. Nothing is wrong with the request.",
    Code.WORKER_CRASHED: "The job's worker died twice while it worked on it.",
    Code.OUT_OF_MEMORY: "The device ran out of memory, even with the smallest tiles.",
    Code.NUMERICAL: "The prior gave numbers that are no picture, twice.",
}


def title(code: Code) -> str:
    """The code in words."""
    return code.value.replace("_", " ").capitalize()


def request_id(request: Request) -> str:
    """The id that this request was given or came with."""
    return str(request.scope.get("state", {}).get("request_id", ""))


def answer(request: Request, problem: Problem, job: str | None = None) -> Response:
    """A problem as an answer."""
    details = ProblemDetails(
        type=f"/problems/{problem.code}",
        title=title(problem.code),
        status=problem.status,
        detail=problem.detail,
        instance=request.url.path,
        code=problem.code,
        request_id=request_id(request),
        errors=[FieldError(field=str(e["field"]), message=str(e["message"])) for e in problem.errors],
        job=job,
        error=problem.detail if INFERENCE.match(request.url.path) else None,
    )
    headers = {"Cache-Control": "no-store"}
    if problem.retry_after is not None or problem.status in (429, 503):
        seconds = RETRY_AFTER if problem.retry_after is None else problem.retry_after
        headers["Retry-After"] = str(max(1, min(120, math.ceil(seconds))))
    if problem.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if problem.code in (Code.DRAINING, Code.TOO_LARGE):
        headers["Connection"] = "close"
    left_out = {"error"} if details.error is None else None
    return Response(details.model_dump_json(exclude=left_out), problem.status, headers, MEDIA_TYPE)


def _methods(request: Request, routes: Sequence[BaseRoute]) -> set[str]:
    """Those that the path takes: of all its routes, while the router names those of the first."""
    found: set[str] = set()
    for route in routes:
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE:
            found |= route.methods or set()
    return found


def install(app: FastAPI, routes: Sequence[BaseRoute]) -> None:
    """Make every error of `app` a problem.

    Args:
        app: of FastAPI.
        routes: those that Allow tells of; `app.routes` holds routers, which do not tell theirs.
    """

    async def on_problem(request: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)
        if error.status >= 500 and error.code is not Code.SATURATED:
            logging.getLogger("pellucid.http").warning("%s: %s", error.code, error.detail)
        return answer(request, error)

    async def on_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        code = _OF_STATUS.get(error.status_code, Code.MALFORMED_REQUEST)
        words = {404: "there is nothing at this path", 405: f"{request.method} is not for this path; see Allow"}
        response = answer(request, Problem(code, words.get(error.status_code, str(error.detail))))
        response.headers.update(error.headers or {})
        if error.status_code == 405:
            response.headers["Allow"] = ", ".join(sorted(_methods(request, [*request.app.routes, *routes])))
        return response

    async def on_validation(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        errors = field_errors(error.errors(), strip=1)
        return answer(request, Problem(Code.INVALID_PARAMETER, "a parameter is wrong; see errors", errors=errors))

    async def on_storage(request: Request, error: Exception) -> Response:
        if isinstance(error, OSError) and error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise error
        what = "the disk is full" if isinstance(error, OSError) else "the database does not answer"
        logging.getLogger("pellucid.http").error("%s: %s", what, error, exc_info=error)
        return answer(request, Problem(Code.STORAGE_UNAVAILABLE, what, retry_after=STORAGE_RETRY_AFTER))

    app.add_exception_handler(Problem, on_problem)
    for kind in (OperationalError, NoConnectionError, OSError):
        app.add_exception_handler(kind, on_storage)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(RequestValidationError, on_validation)
