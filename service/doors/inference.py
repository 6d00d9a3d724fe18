"""The Open Inference Protocol's metadata and health of models; those of the server are in `service.http.health`.

Source: https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol. There is no `infer`: its
tensors are no pictures with a profile, a depth and an orientation.
"""

from __future__ import annotations

from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Path
from starlette.requests import Request
from starlette.responses import Response

from service import __version__
from service.doors.schemas import ModelMetadata, ModelReady, ServerMetadata
from service.http.health import check_ready
from service.http.jobs import require_json
from service.http.models import find_facts
from service.http.negotiation import JSON
from service.http.openapi import described
from service.http.parts import check_open, parts
from service.http.vocabulary import HEADERS

router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])

Name = Annotated[str, Path(description="Of the prior.", examples=["photo"])]


@router.get(
    "",
    response_model=ServerMetadata,
    summary="What this server is",
    responses=described({200: HEADERS["id"]}, 400, 406),
)
async def server_metadata(request: Request) -> Response:
    """Name, version and extensions."""
    require_json(request)
    body = ServerMetadata(version=__version__, extensions=[])
    return Response(body.model_dump_json(), 200, media_type=JSON)


@router.get(
    "/models/{name}",
    response_model=ModelMetadata,
    summary="What a model is",
    responses=described({200: HEADERS["id"]}, 400, 404, 406, 503),
)
async def model_metadata(request: Request, name: Name) -> Response:
    """Its name. It has no tensors: pictures go to `POST /v1/restore`; `GET /v1/models/{name}` tells more."""
    require_json(request)
    check_open(parts(request))
    facts = await to_thread.run_sync(find_facts, name)
    body = ModelMetadata(name=facts.name, inputs=[], outputs=[])
    return Response(body.model_dump_json(), 200, media_type=JSON)


@router.get(
    "/models/{name}/ready",
    response_model=ModelReady,
    summary="A model can be used",
    responses=described({200: HEADERS["id"]}, 400, 404, 406, 503),
)
async def model_ready(request: Request, name: Name) -> Response:
    """Whether jobs may name it: it is installed, and a worker is ready, which loads it when a job asks for it."""
    require_json(request)
    facts = await to_thread.run_sync(find_facts, name)
    check_ready(request)
    body = ModelReady(name=facts.name)
    return Response(body.model_dump_json(), 200, {"Cache-Control": "no-store"}, JSON)
