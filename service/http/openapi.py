"""The OpenAPI 3.1 document: what the routes cannot say by their types alone, said once for all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import models_json_schema

from service import __version__
from service.http.errors import MEANING, MEDIA_TYPE, title
from service.http.negotiation import EVENTS, IMAGES, JSON
from service.http.vocabulary import HEADERS, ID, JOB_LINKS, RETRY, SERVER_SENT_EVENT, Schema, header, parameters
from service.problems import STATUS, Code
from service.protection.paths import is_public, takes_password
from service.schemas.job import JobResource
from service.schemas.models import PullRequest
from service.schemas.parameters import EXTRA_ROLE, PARAMETERS
from service.schemas.problem import ProblemDetails
from service.schemas.requests import REQUESTS, RestoreRequest
from service.schemas.sources import KERNEL_FORM

DESCRIPTION = """\
Pellucid restores photographs with a diffusion prior.

One resource, standard negotiation: POST a picture and get the restored picture back (`Accept: image/png`), JSON
(`Accept: application/json`), server-sent events (`Accept: text/event-stream`), or 202 and a job at once
(`Prefer: respond-async`). Errors are `application/problem+json` with a `code` from a closed list.
"""


def _schema_for(media_type: str) -> Schema:
    if media_type == EVENTS:
        return {"$ref": "#/components/schemas/ServerSentEvent"}
    if media_type == JSON:
        return {"type": "object"}
    return {"type": "string", "contentMediaType": media_type, "format": "binary"}


def described(
    headers: Mapping[int, Schema],
    *problems: int,
    content: Mapping[int, str | Sequence[str]] | None = None,
    links: Schema | None = None,
) -> dict[int | str, Schema]:
    """`responses` of a route: its own answers by status, and the statuses of its problems."""
    found: dict[int | str, Schema] = {}
    for status, own in headers.items():
        found[status] = {"description": HTTPStatus(status).phrase, "headers": dict(own)}
        media = (content or {}).get(status)
        if media is not None:
            types = [media] if isinstance(media, str) else media
            found[status]["content"] = {name: {"schema": _schema_for(name)} for name in types}
        if links and status < 300:
            found[status]["links"] = links
    for status in (401, 403, 408, 429, *problems):
        found[status] = problem(status)
    return dict(sorted(found.items()))


def problem(status: int) -> Schema:
    """The answer of an error status, with an example of each of its codes."""
    codes = [code for code in Code if STATUS[code] == status]
    headers: Schema = {**ID, **(RETRY if status in (429, 503) else {})}
    if status == 401:
        headers["WWW-Authenticate"] = header("How to authenticate.", "Bearer")
    return {
        "description": " ".join(MEANING[code] for code in codes) or HTTPStatus(status).phrase,
        "headers": headers,
        "content": {
            MEDIA_TYPE: {
                "schema": {"$ref": "#/components/schemas/ProblemDetails"},
                "examples": {code.value: {"value": _problem_example(code)} for code in codes},
            }
        },
    }


def _problem_example(code: Code) -> Schema:
    return ProblemDetails(
        type=f"/problems/{code}", title=title(code), status=STATUS[code], detail=MEANING[code],
        instance="/restore", code=code, request_id="5f0c2a9be3e34c2d8e1f",
    ).model_dump(mode="json")  # fmt: skip


#: Statuses of a submission that are errors.
SUBMIT_PROBLEMS = (400, 406, 409, 410, 413, 415, 422, 500, 503)


def restore_operation(task: str | None) -> dict[str, Any]:
    """What FastAPI is told of POST /restore (None) or of a task's facade, besides the function."""
    about = PARAMETERS[task].__doc__ or "" if task else "Restore a picture: the task is in the body."
    responses = described(
        {200: HEADERS["done"], 202: HEADERS["accepted"]},
        *SUBMIT_PROBLEMS,
        content={200: [*IMAGES.values(), EVENTS]},
    )
    reference = {"schema": {"$ref": "#/components/schemas/JobResource"}}
    responses[200]["content"][JSON] = reference
    responses[202]["content"] = {JSON: reference}
    responses[202]["links"] = JOB_LINKS
    body = {"required": True, "content": _contents(task)}
    extra = parameters("prefer", "idempotency_key")
    extra["parameters"] += _query(task)
    return {
        "summary": about.strip().splitlines()[0],
        "description": (
            "The picture comes as a raw body with query parameters, in multipart/form-data, or in JSON; query "
            "parameters go with the raw body only. The answer is what Accept and Prefer ask for. A client that hangs "
            "up before a synchronous answer cancels its work; after 202 it does not."
        ),
        "responses": responses,
        "openapi_extra": {**extra, "requestBody": body},
        "status_code": 200,
    }


def _flat(task: str | None) -> Schema:
    """Properties of a form or a query: of one task, or of all."""
    found: Schema = {}
    for name, model in PARAMETERS.items():
        if task in (None, name):
            found |= model.model_json_schema()["properties"]
    found["task"] = {"type": "string", "enum": list(PARAMETERS) if task is None else [task], "title": "Task"}
    if task is None:
        found["task"]["default"] = "auto"
    return {name: _without_null(schema) for name, schema in found.items()}


def _without_null(schema: Schema) -> Schema:
    """What is left out of a form is not null there."""
    branches = [branch for branch in schema.get("anyOf", []) if branch.get("type") != "null"]
    rest = {key: value for key, value in schema.items() if key != "anyOf" and (key != "default" or value is not None)}
    if len(branches) == 1:
        return {**rest, **branches[0]}
    return {**rest, "anyOf": branches} if branches else rest


def _query(task: str | None) -> list[Schema]:
    query = []
    for name, schema in _flat(task).items():
        text = schema.pop("description", "")
        query.append({"name": name, "in": "query", "required": False, "description": text, "schema": schema})
    if task in (None, "deblur"):
        form = {"type": "string", "pattern": KERNEL_FORM.pattern}
        text = "Of deblur: gaussian:SIGMA, defocus:RADIUS, motion:LENGTH:ANGLE, or JSON rows."
        query.append({"name": "kernel", "in": "query", "required": False, "description": text, "schema": form})
    return query


def _contents(task: str | None) -> Schema:
    picture = {"type": "string", "format": "binary", "contentMediaType": "application/octet-stream"}
    form: Schema = {
        "type": "object",
        "properties": {"image": {**picture, "description": "The picture to restore."}, **_flat(task)},
        "required": ["image"],
        "additionalProperties": False,
    }
    role = EXTRA_ROLE.get(task or "")
    if task is None or role == "mask":
        form["properties"]["mask"] = {**picture, "description": "Of inpaint: bright where to fill in."}
    if task is None or role == "kernel":
        form["properties"]["kernel"] = {"type": "string", "pattern": KERNEL_FORM.pattern, "description": "Of deblur."}
    if role is not None:
        form["required"].append(role)
    form["properties"]["params"] = {
        "type": "object",
        "description": "The parameters as one JSON part, instead of a field each.",
    }
    name = "RestoreRequest" if task is None else REQUESTS[task].__name__
    contents: Schema = {
        JSON: {"schema": {"$ref": f"#/components/schemas/{name}"}, "examples": {"denoise": {"value": _example(task)}}},
        "multipart/form-data": {"schema": form, "encoding": {"params": {"contentType": JSON}}},
    }
    if role != "mask":
        contents |= {media: {"schema": {**picture, "contentMediaType": media}} for media in IMAGES.values()}
    return contents


#: 8 x 6 pixels from black to white, PNG.
EXAMPLE_PICTURE = (
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAGCAIAAABxZ0isAAAAIElEQVR4nGMUExNjwAZYNDU1sUtoa2tTSYLx5cuXWCUAFTUFDmTuZ9YAAAAASUVO"
    "RK5CYII="
)


def _example(task: str | None) -> Schema:
    example: Schema = {"image": {"b64": EXAMPLE_PICTURE}, "seed": 7}
    if task is None:
        example["task"] = "denoise"
    if task == "inpaint":
        example["mask"] = {"b64": EXAMPLE_PICTURE}
    if task == "deblur":
        example["kernel"] = "gaussian:2"
    if task == "dejpeg":
        example["quality"] = 50
    return example


def _components(extra: Sequence[type[BaseModel]]) -> Schema:
    models: list[type[BaseModel]] = [JobResource, ProblemDetails, PullRequest, *REQUESTS.values(), *extra]
    _, found = models_json_schema([(m, "validation") for m in models], ref_template="#/components/schemas/{model}")
    schemas: Schema = found["$defs"]
    union = TypeAdapter(RestoreRequest).json_schema(ref_template="#/components/schemas/{model}")
    # Without a task the request is for "auto" and nothing else.
    branches = [
        branch if branch["$ref"].endswith("/AutoRequest") else {"allOf": [branch, {"required": ["task"]}]}
        for branch in union["oneOf"]
    ]
    schemas["ServerSentEvent"] = SERVER_SENT_EVENT
    schemas["RestoreRequest"] = {"title": "RestoreRequest", "oneOf": branches}
    return schemas


def install(app: FastAPI, auth: bool, bodies: Sequence[type[BaseModel]] = ()) -> None:
    """Make `app.openapi` give the complete document.

    Args:
        app: with all its routes.
        auth: whether keys are required.
        bodies: of requests, besides those of the restorations, that routes refer to by name.
    """

    def document() -> Schema:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app, auth, bodies)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _document(app: FastAPI, auth: bool, bodies: Sequence[type[BaseModel]]) -> Schema:
    document = get_openapi(
        title="Pellucid",
        version=__version__,
        openapi_version="3.1.0",
        summary="Restore photographs with a diffusion prior.",
        description=DESCRIPTION,
        routes=app.routes,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
    )
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas |= _components(bodies)
    components["securitySchemes"] = {
        "key": {"type": "http", "scheme": "bearer", "description": "An API key."},
        "password": {"type": "http", "scheme": "basic", "description": "Any name, and an API key as the password."},
    }
    for path, item in document["paths"].items():
        for operation in item.values():
            own = operation["responses"]
            if "HTTPValidationError" in str(own.get("422", "")):
                del own["422"]
            if not is_public(path):
                ways: list[Schema] = [{"key": []}, *([{"password": []}] if takes_password(path) else [])]
                operation["security"] = ways if auth else [{}, *ways]
            for answer in own.values():
                answer.setdefault("headers", dict(ID))
    return document
