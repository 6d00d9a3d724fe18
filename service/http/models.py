"""/v1/models: the priors that jobs can name."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Path
from starlette.requests import Request
from starlette.responses import Response

from service.http.jobs import require_json
from service.http.negotiation import JSON
from service.http.openapi import HEADERS, described
from service.http.parts import Parts, check_open, parts
from service.problems import Code, Problem
from service.schemas.models import Model, ModelList
from service.settings import Settings

router = APIRouter(prefix="/v1/models", tags=["Models"])


@cache
def _facts() -> dict[str, Any]:
    """What is known of the shipped priors, without loading torch or a weight."""
    from models.registry import list_priors

    return {facts.name: facts for facts in list_priors()}


def default_prior(settings: Settings) -> str:
    """The prior of jobs that name none."""
    from models.registry import DEFAULT

    return settings.prior or DEFAULT


def check_prior(name: str | None, settings: Settings) -> None:
    """Refuse a prior that is not installed.

    Raises:
        Problem: UNKNOWN_PRIOR.
    """
    if name is not None and name not in _facts() and name != settings.prior:
        known = ", ".join(sorted(_facts()))
        raise Problem(Code.UNKNOWN_PRIOR, f"no prior is called {name!r}; known are {known}")


def _model(facts: Any, given: Parts) -> Model:
    default = facts.name == default_prior(given.settings)
    ready = any(device.state == "ready" for device in given.service.engine.status())
    return Model(
        name=facts.name,
        kind=getattr(facts, "kind", "prior"),
        family=facts.family,
        tasks=list(facts.tasks),
        licence=dict(facts.licence),
        digest=facts.digest,
        parameters=facts.parameters,
        runtime=given.settings.runtime,
        default=default,
        loaded=default and ready,
        sigma_min=facts.sigma_min * 127.5,
        sigma_max=facts.sigma_max * 127.5,
        citation=facts.citation,
        scores=facts.scores,
    )


@router.get(
    "",
    response_model=ModelList,
    summary="The installed priors",
    responses=described({200: HEADERS["id"]}, 400, 406, 503),
)
async def list_models(request: Request) -> Response:
    """Facts of every prior: what it serves, its licence, the digest of its weights, whether it is loaded."""
    require_json(request)
    given = parts(request)
    check_open(given)
    facts = await to_thread.run_sync(_facts)
    body = ModelList(data=[_model(facts[name], given) for name in sorted(facts)])
    return Response(body.model_dump_json(), 200, media_type=JSON)


@router.get(
    "/{name}", response_model=Model, summary="One prior", responses=described({200: HEADERS["id"]}, 400, 404, 406, 503)
)
async def get_model(
    request: Request, name: Annotated[str, Path(description="Of the prior.", examples=["photo"])]
) -> Response:
    """Its facts."""
    require_json(request)
    given = parts(request)
    check_open(given)
    facts = await to_thread.run_sync(_facts)
    if name not in facts:
        raise Problem(Code.NOT_FOUND, f"no such prior; known are {', '.join(sorted(facts))}")
    return Response(_model(facts[name], given).model_dump_json(), 200, media_type=JSON)
