"""/v1/models: the priors that jobs can name; for an operator's key, fetching and removing them."""

from __future__ import annotations

import logging
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Path, Query
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from service.http.bodies import Shape, receive, shape_of
from service.http.jobs import require_json
from service.http.negotiation import JSON
from service.http.openapi import described
from service.http.parts import Parts, check_open, parts
from service.http.pulls import Pull
from service.http.validation import field_errors
from service.http.vocabulary import HEADERS
from service.problems import Code, Problem
from service.protection.keys import Scope
from service.protection.middleware import principal
from service.schemas.models import Model, ModelList, PullRequest
from service.schemas.parameters import AnyParameters
from service.schemas.requests import AnyRequest
from service.settings import Settings

router = APIRouter(prefix="/v1/models", tags=["Models"])
log = logging.getLogger("pellucid.models")

#: A request to pull is a name.
LARGEST_REQUEST = 4096

Name = Annotated[str, Path(description="Of the prior.", examples=["photo"])]

_read: dict[tuple[str, int], Any] = {}


def installed_facts() -> dict[str, Any]:
    """What is known of the installed priors, without loading torch or a weight; read again when files change."""
    from models.registry import PriorFacts
    from models.registry import installed as descriptions
    from restore.errors import PriorError

    found = {}
    for name, path in descriptions().items():
        try:
            key = (str(path), path.stat().st_mtime_ns)
            if key not in _read:
                _read[key] = PriorFacts.read(path)
            found[name] = _read[key]
        except FileNotFoundError:
            continue  # removed a moment ago
        except (OSError, PriorError) as error:
            log.warning("the prior %s is left out: %s", name, error)
    return found


def _known() -> dict[str, Any]:
    """What is known of the priors that can be pulled."""
    from models.registry import list_known

    return {facts.name: facts for facts in list_known()}


def find_facts(name: str) -> Any:
    """What is known of one installed prior.

    Raises:
        Problem: NOT_FOUND.
    """
    facts = installed_facts()
    if name not in facts:
        raise Problem(Code.NOT_FOUND, f"no such prior; known are {', '.join(sorted(facts))}")
    return facts[name]


def default_prior(settings: Settings) -> str:
    """The prior of jobs that name none."""
    from models.registry import DEFAULT

    return settings.prior or DEFAULT


def check_prior(parameters: AnyParameters | AnyRequest, settings: Settings) -> int | None:
    """Refuse a prior that is not installed, and one that cannot do what is asked.

    Returns:
        The calls that it makes unless told otherwise, where that is its own number and not the task's.

    Raises:
        Problem: UNKNOWN_PRIOR, INVALID_PARAMETER.
    """
    from restore.prior.enlarger import unfit

    facts, name = installed_facts(), parameters.prior
    if name not in facts and name is not None and name != settings.prior:
        raise Problem(Code.UNKNOWN_PRIOR, f"no prior is called {name!r}; known are {', '.join(sorted(facts))}")
    chosen = facts.get(name or default_prior(settings))
    if chosen is None or chosen.scale is None:
        return None
    refused = unfit(chosen.name, chosen.scale, parameters.task, parameters.model_dump(exclude={"image"}))
    if refused is not None:
        errors = [{"field": "prior" if refused[0] == "task" else refused[0], "message": refused[1]}]
        raise Problem(Code.INVALID_PARAMETER, refused[1], errors=errors)
    steps: int | None = chosen.steps
    return steps


def _model(facts: Any, given: Parts, here: bool, pull: Pull | None = None) -> Model:
    default = facts.name == default_prior(given.settings)
    ready = any(device.state == "ready" for device in given.service.engine.status())
    failed = pull.error if pull is not None else ""
    working = pull if pull is not None and not failed else None
    measuring = working is not None and here
    if here:
        state = "measuring" if measuring else "installed"
    else:
        state = "failed" if failed else "available" if working is None else "pulling"
    return Model(
        name=facts.name,
        kind=getattr(facts, "kind", "prior"),
        family=facts.family,
        tasks=list(facts.tasks),
        licence=dict(facts.licence),
        digest=facts.digest,
        state=state,
        size=facts.bytes,
        received=working.received if working is not None and not here else None,
        measured=here and facts.measured,
        measuring=working.measured or 0.0 if working is not None and measuring else None,
        error=failed or None,
        parameters=facts.parameters,
        runtime=given.settings.runtime,
        default=default,
        loaded=default and ready,
        sigma_min=facts.sigma_min * 127.5,
        sigma_max=facts.sigma_max * 127.5,
        citation=facts.citation,
        scores=facts.scores,
    )


def _check_operator(request: Request) -> None:
    """Refuse who is no operator; without keys, nobody is.

    Raises:
        Problem: FORBIDDEN.
    """
    caller = principal(request)
    if not caller.id or Scope.ADMIN not in caller.scopes:
        raise Problem(Code.FORBIDDEN, "priors are managed with a key that has the scope admin (pellucid keys new)")


@router.get(
    "",
    response_model=ModelList,
    summary="The installed priors",
    responses=described({200: HEADERS["id"]}, 400, 406, 422, 503),
)
async def list_models(
    request: Request,
    known: Annotated[bool, Query(description="Also those that can be pulled.")] = False,
) -> Response:
    """Facts of every prior: what it serves, its licence, the digest of its weights, whether it is loaded."""
    require_json(request)
    given = parts(request)
    check_open(given)
    pulls = given.pulls.all()
    installed = await to_thread.run_sync(installed_facts)
    others = await to_thread.run_sync(_known) if known else {}
    rows = {**others, **installed}
    body = ModelList(data=[_model(rows[name], given, name in installed, pulls.get(name)) for name in sorted(rows)])
    return Response(body.model_dump_json(), 200, media_type=JSON)


@router.get(
    "/{name}", response_model=Model, summary="One prior", responses=described({200: HEADERS["id"]}, 400, 404, 406, 503)
)
async def get_model(request: Request, name: Name) -> Response:
    """Its facts; of one that can be pulled also how far that is."""
    require_json(request)
    given = parts(request)
    check_open(given)
    pull = given.pulls.all().get(name)
    installed = await to_thread.run_sync(installed_facts)
    facts = installed.get(name) or (await to_thread.run_sync(_known)).get(name)
    if facts is None:
        raise Problem(Code.NOT_FOUND, f"no such prior; known are {', '.join(sorted(installed))}")
    return Response(_model(facts, given, name in installed, pull).model_dump_json(), 200, media_type=JSON)


@router.post(
    "",
    response_model=Model,
    status_code=202,
    summary="Fetch a known prior, and measure it",
    responses=described({200: HEADERS["id"], 202: HEADERS["pulling"]}, 400, 406, 409, 413, 415, 422, 503),
    openapi_extra={
        "requestBody": {"required": True, "content": {JSON: {"schema": {"$ref": "#/components/schemas/PullRequest"}}}}
    },
)
async def pull_model(request: Request) -> Response:
    """Needs a key with the scope admin. 202: it is being fetched, and then tested and measured on the server's CPU,
    GET the prior tells how far; 200: it is there, and measured. It can be used meanwhile, with a warning."""
    require_json(request)
    _check_operator(request)
    given = parts(request)
    check_open(given)
    asked = await _asked(request)
    name = asked.name
    installed = await to_thread.run_sync(installed_facts)
    if name in installed:
        pull = None
        if asked.measure and not installed[name].measured:
            pull = given.pulls.start(name)
        body = _model(installed[name], given, True, pull).model_dump_json()
        if pull is None:
            return Response(body, 200, media_type=JSON)
        return Response(body, 202, {"Location": f"/v1/models/{name}"}, JSON)
    known = await to_thread.run_sync(_known)
    if name not in known:
        raise Problem(Code.UNKNOWN_PRIOR, f"no prior called {name!r} can be pulled; there are {', '.join(known)}")
    if given.settings.offline:
        raise Problem(Code.OFFLINE, "this server opens no connection to the outside; install the prior by hand")
    pull = given.pulls.start(name, asked.measure)
    body = _model(known[name], given, False, pull).model_dump_json()
    return Response(body, 202, {"Location": f"/v1/models/{name}"}, JSON)


@router.delete(
    "/{name}",
    status_code=204,
    summary="Remove a prior that was pulled or added, or stop pulling it",
    responses=described({204: HEADERS["id"]}, 400, 404, 409, 503),
)
async def remove_model(request: Request, name: Name) -> Response:
    """Needs a key with the scope admin. Jobs that run with the prior end with it; later ones are refused."""
    _check_operator(request)
    given = parts(request)
    check_open(given)
    from models.registry import WEIGHTS
    from models.registry.pull import remove
    from restore.errors import PriorError

    if (WEIGHTS / f"{name}.json") in WEIGHTS.glob("*.json") or name == default_prior(given.settings):
        raise Problem(Code.PRIOR_PROTECTED, f"the prior {name!r} came with the server or is its default")
    stopped = await to_thread.run_sync(given.pulls.stop, name)
    try:
        await to_thread.run_sync(remove, name)
    except PriorError:
        if not stopped:
            raise Problem(Code.NOT_FOUND, "no such prior is on this server") from None
    return Response(None, 204)


async def _asked(request: Request) -> PullRequest:
    """The body of a request to pull.

    Raises:
        Problem: UNSUPPORTED_MEDIA_TYPE, TOO_LARGE, MALFORMED_REQUEST, INVALID_PARAMETER.
    """
    if shape_of(request) is not Shape.JSON:
        raise Problem(Code.UNSUPPORTED_MEDIA_TYPE, 'send JSON: {"name": "..."}')
    body = await receive(request, LARGEST_REQUEST)
    try:
        return PullRequest.model_validate_json(body.read("json"), strict=True)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        if found[0]["type"] == "json_invalid":
            raise Problem(Code.MALFORMED_REQUEST, "the body is not JSON") from None
        errors = field_errors(found, strip=0)
        raise Problem(
            Code.INVALID_PARAMETER, f"{errors[0]['field'] or 'body'}: {errors[0]['message']}", errors=errors
        ) from None
    finally:
        body.close()
