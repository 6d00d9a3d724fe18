"""Liveness, readiness, and what the problem codes mean. No key is needed, no secret is told."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from starlette.requests import Request
from starlette.responses import Response

from service.http.errors import MEANING, title
from service.http.negotiation import JSON
from service.http.openapi import problem
from service.http.parts import parts
from service.http.vocabulary import HEADERS
from service.problems import STATUS, Code, Problem, code_named
from service.schemas.base import Answered
from service.schemas.health import Device, Live, Ready

router = APIRouter(tags=["Health"])

State = Literal["ready", "starting", "draining", "broken"]


class ProblemMeaning(Answered):
    """What a problem's `type` refers to."""

    code: Code
    """The code."""
    title: str
    """The code in words."""
    status: int
    """The HTTP status it comes with."""
    meaning: str
    """What it means."""


@router.get("/livez", response_model=Live, summary="The process answers", responses={200: {"headers": HEADERS["id"]}})
@router.get("/v2/health/live", response_model=Live, summary="The process answers (Open Inference Protocol)")
async def live(request: Request) -> Response:
    """Whether to leave the process alone."""
    return Response(Live().model_dump_json(), 200, {"Cache-Control": "no-store"}, JSON)


def state(request: Request) -> State:
    """Of the server as a whole: ready when at least one worker is."""
    given = parts(request)
    if given.drain.begun.is_set() or given.service.draining:
        return "draining"
    states = {device.state for device in given.service.engine.status()}
    if "ready" in states:
        return "ready"
    return "broken" if states == {"broken"} else "starting"


def check_ready(request: Request) -> None:
    """Refuse while no work is taken.

    Raises:
        Problem: DRAINING, STARTING.
    """
    now = state(request)
    if now == "draining":
        raise Problem(Code.DRAINING, "the server is shutting down", retry_after=5.0)
    if now != "ready":
        status = parts(request).service.engine.status()
        told = "; ".join(f"{d.device}: {d.state}{f', {d.detail}' if d.detail else ''}" for d in status)
        raise Problem(Code.STARTING, f"no worker is ready: {told or 'none yet'}", retry_after=2.0)


@router.get("/readyz", response_model=Ready, summary="Work is taken", responses={503: problem(503)})
@router.get(
    "/v2/health/ready",
    response_model=Ready,
    summary="Work is taken (Open Inference Protocol)",
    responses={503: problem(503)},
)
async def ready(
    request: Request, verbose: Annotated[str | None, Query(description="Name the workers.")] = None
) -> Response:
    """Whether to send work. 503 while no worker is ready and from the beginning of a shutdown on."""
    check_ready(request)
    status = parts(request).service.engine.status()
    devices = None
    if verbose is not None and verbose.lower() not in ("0", "false"):
        devices = [
            Device(device=d.device, state=d.state, running=d.running, restarts=d.restarts, detail=d.detail)
            for d in status
        ]
    body = Ready(status="ready", devices=devices)
    return Response(body.model_dump_json(), 200, {"Cache-Control": "no-store"}, JSON)


@router.get(
    "/problems/{code}",
    response_model=ProblemMeaning,
    summary="What a problem code means",
    responses={404: problem(404)},
)
async def meaning(code: Annotated[str, Path(description="The code.", examples=["invalid_parameter"])]) -> Response:
    """The address that a problem's `type` is."""
    known = code_named(code)
    if known is None:
        raise Problem(Code.NOT_FOUND, "there is no such code")
    body = ProblemMeaning(code=known, title=title(known), status=STATUS[known], meaning=MEANING[known])
    return Response(body.model_dump_json(), 200, media_type=JSON)
