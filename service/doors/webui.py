"""The part of AUTOMATIC1111's stable-diffusion-webui interface that enlarges: tools that know it can use this server.

Source: the OpenAPI document of stable-diffusion-webui 1.10 (`/sdapi/v1/extra-single-image`, `/sdapi/v1/upscalers`), and
what the client library webuiapi 0.9.17 sends. Only what can be done honestly is: an upscaler is super-resolution with
one of the installed priors, and faces are not painted anew.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from contextlib import AsyncExitStack
from html import escape
from typing import Any

from anyio import to_thread
from fastapi import APIRouter
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from service.doors.fitting import SCALES, Fit, fit_factor, fit_size, fitted
from service.doors.schemas import ExtrasAnswer, ExtrasRequest, FaceRestorer, Scripts, Upscaler
from service.http import answers, budget
from service.http.bodies import Body, Shape, receive, shape_of
from service.http.errors import answer
from service.http.jobs import require_json
from service.http.models import check_prior, default_prior, installed_facts
from service.http.negotiation import JSON
from service.http.openapi import described
from service.http.parts import Parts, check_open, check_takes_work, owner, parts
from service.http.pictures import Submitted
from service.http.restore import idempotency_key
from service.http.submission import let_in, new_job, queue, storing
from service.http.validation import field_errors
from service.http.vocabulary import HEADERS, parameters
from service.http.waiting import Gone
from service.intake.protocol import Examined
from service.jobs.model import JobState
from service.jobs.store import Submission
from service.problems import Code, Problem
from service.schemas.parameters import SuperResolve
from service.schemas.sources import Inline, Remote
from service.settings import Settings

router = APIRouter(prefix="/sdapi/v1", tags=["AUTOMATIC1111"])

#: The upscaler that is the server's default prior; others are called by it and their prior's name.
UPSCALER = "Pellucid"


def upscalers(settings: Settings) -> dict[str, str]:
    """Name -> prior of every upscaler, the default one first."""
    default = default_prior(settings)
    able = [name for name, facts in installed_facts().items() if {"any", "super-resolve"} & set(facts.tasks)]
    return {UPSCALER: default} | {f"{UPSCALER} {name}": name for name in sorted(able) if name != default}


def scales(prior: str) -> tuple[int, ...]:
    """How many times a prior enlarges, rising."""
    facts = installed_facts().get(prior)
    return SCALES if facts is None or facts.scale is None else (facts.scale,)


@router.get(
    "/upscalers",
    response_model=list[Upscaler],
    summary="What enlarges",
    responses=described({200: HEADERS["id"]}, 400, 406, 503),
)
async def list_upscalers(request: Request) -> Response:
    """Super-resolution with each installed prior, by the names that `upscaler_1` takes."""
    require_json(request)
    given = parts(request)
    check_open(given)
    return _json(await to_thread.run_sync(_rows, given.settings))


def _rows(settings: Settings) -> list[Upscaler]:
    return [
        Upscaler(name=name, model_name=prior, model_path=None, model_url=None, scale=float(max(scales(prior))))
        for name, prior in upscalers(settings).items()
    ]


@router.get(
    "/scripts", response_model=Scripts, summary="No scripts", responses=described({200: HEADERS["id"]}, 400, 406)
)
async def list_scripts(request: Request) -> Response:
    """None; clients ask before anything else."""
    require_json(request)
    return Response(Scripts(txt2img=[], img2img=[]).model_dump_json(), 200, media_type=JSON)


@router.get(
    "/face-restorers",
    response_model=list[FaceRestorer],
    summary="No restorers of faces",
    responses=described({200: HEADERS["id"]}, 400, 406),
)
async def list_face_restorers(request: Request) -> Response:
    """None: a face that is painted anew is another face."""
    require_json(request)
    return _json([])


@router.post(
    "/extra-single-image",
    response_model=ExtrasAnswer,
    summary="Enlarge a picture",
    responses=described({200: HEADERS["job"]}, 400, 406, 409, 410, 413, 415, 422, 500, 503),
    openapi_extra={
        **parameters("idempotency_key"),
        "requestBody": {
            "required": True,
            "content": {JSON: {"schema": {"$ref": "#/components/schemas/ExtrasRequest"}}},
        },
    },
)
async def extra_single_image(request: Request) -> Response:
    """Super-resolution, waited for; a client that hangs up cancels it. The picture is restored at 2, 3, 4 or 8 times
    its size, whichever is the next, and reduced to the size asked for. The answer is a PNG file in base64."""
    require_json(request)
    given, key = parts(request), idempotency_key(request)
    check_takes_work(given)
    submission, fit = await _submit(request, given, key)
    job, waiters = submission.job, given.waiters
    if not submission.replayed:
        waiters.own(job.id)
    try:
        job = await waiters.wait(job.id, given.settings.sync_seconds, request.receive)
    except Gone:
        return Response(status_code=499)
    if not job.state.ended:
        if not submission.replayed:
            await given.service.cancel(job.id)
        raise Problem(Code.SATURATED, "it takes longer than this interface waits; POST /v1/super-resolve makes a job")
    if job.state is not JobState.SUCCEEDED:
        return answer(request, answers.failure(job), job.id)
    data = await answers.load(given.service.blobs, job, "result")
    async with given.intake_slots:
        data = await to_thread.run_sync(fitted, data, fit)
        body = await to_thread.run_sync(_answer, data, job.effective, fit)
    return Response(body, 200, answers.job_headers(job), JSON)


async def _submit(request: Request, given: Parts, key: str | None) -> tuple[Submission, Fit]:
    """Receive, check and queue."""
    if shape_of(request) is not Shape.JSON:
        raise Problem(Code.UNSUPPORTED_MEDIA_TYPE, f"the body is {JSON}")
    body = await receive(request, given.settings.max_bytes)
    async with AsyncExitStack() as stack:
        stack.callback(body.close)
        if key is None:
            await given.service.admit(given.arriving)
        stack.enter_context(let_in(given))
        async with given.intake_slots:
            asked = await to_thread.run_sync(_read, body)
            prior = await to_thread.run_sync(_prior, asked, given.settings)
            inputs = {"image": await given.reader.source("image", _source(asked.image), owner(request))}
            stored = await stack.enter_async_context(storing(given.service.blobs, inputs))
            image = await given.reader.examine(inputs)
            able = await to_thread.run_sync(scales, prior or default_prior(given.settings))
            fit = _fit(asked, image, able)
            wanted = SuperResolve.model_validate({"scale": fit.scale, "prior": prior, "output_format": "png"})
            budget.check(wanted, image, given.settings, check_prior(wanted, given.settings))
            new = await new_job(request, given, Submitted(wanted, image), stored, "png", key)
        return await queue(given, new, stored), fit


def _read(body: Body) -> ExtrasRequest:
    """The request, if it asks for nothing that there is not.

    Raises:
        Problem: MALFORMED_REQUEST, INVALID_PARAMETER.
    """
    try:
        asked = ExtrasRequest.model_validate_json(body.read("json"))
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        if found[0]["type"] == "json_invalid":
            raise Problem(Code.MALFORMED_REQUEST, "the body is not JSON") from None
        errors = field_errors(found, strip=0)
        detail = f"{errors[0]['field'] or 'body'}: {errors[0]['message']}"
        raise Problem(Code.INVALID_PARAMETER, detail, errors=errors) from None
    for field, name in (("gfpgan_visibility", "GFPGAN"), ("codeformer_visibility", "CodeFormer")):
        if getattr(asked, field) > 0.0:
            raise _wrong(field, f"there is no {name} here, only 0 is taken: faces are not painted anew")
    if asked.extras_upscaler_2_visibility > 0.0 and asked.upscaler_2 != "None":
        raise _wrong("upscaler_2", "two upscalers are not blended here: give None, or a visibility of 0")
    return asked


def _prior(asked: ExtrasRequest, settings: Settings) -> str | None:
    """The prior of an upscaler; None for the server's default.

    Raises:
        Problem: INVALID_PARAMETER.
    """
    known = upscalers(settings)
    if asked.upscaler_1 not in known:
        what = "None asks for nothing" if asked.upscaler_1 == "None" else f"{asked.upscaler_1[:80]!r} is not here"
        raise _wrong("upscaler_1", f"{what}; there are {', '.join(known)}")
    return None if asked.upscaler_1 == UPSCALER else known[asked.upscaler_1]


def _source(text: str) -> Inline | Remote:
    """Base64, perhaps as a data URL, or an address.

    Raises:
        Problem: INVALID_PARAMETER.
    """
    try:
        if text.startswith(("http://", "https://")):
            return Remote(url=text)
        return Inline(b64=text.partition(",")[2] if text.startswith("data:") else text)
    except ValidationError:
        raise _wrong("image", "it is neither base64 (RFC 4648, section 4) nor the address of a picture") from None


def _fit(asked: ExtrasRequest, image: Examined, able: Sequence[int]) -> Fit:
    if asked.resize_mode == 0:
        fit = fit_factor(image.width, image.height, asked.upscaling_resize, able)
        field = "upscaling_resize"
    else:
        wanted = (asked.upscaling_resize_w, asked.upscaling_resize_h)
        fit, field = fit_size(image.width, image.height, wanted, asked.upscaling_crop, able), "upscaling_resize_w"
    if fit is None:
        size = f"{image.width}x{image.height}"
        raise _wrong(
            field, f"the picture has {size} pixels; it can be enlarged more than once and up to {max(able)} times"
        )
    return fit


def _answer(data: bytes, report: dict[str, Any], fit: Fit) -> str:
    said = f"Pellucid, prior {report.get('prior', '')}, {fit.scale}x, seed {report.get('seed', 0)}"
    html = f"<p>{escape(said)}</p>"
    return ExtrasAnswer(html_info=html, image=base64.b64encode(data).decode("ascii")).model_dump_json()


def _json(rows: list[Any]) -> Response:
    return Response(f"[{','.join(row.model_dump_json() for row in rows)}]", 200, media_type=JSON)


def _wrong(field: str, message: str) -> Problem:
    return Problem(Code.INVALID_PARAMETER, f"{field}: {message}", errors=[{"field": field, "message": message}])
