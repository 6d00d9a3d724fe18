"""POST /v1/uploads: send a picture once, use it in many requests."""

from __future__ import annotations

import hashlib
import secrets
from datetime import UTC, datetime, timedelta

from anyio import to_thread
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from service.http.bodies import Shape, receive
from service.http.jobs import require_json
from service.http.negotiation import IMAGES, JSON
from service.http.openapi import described
from service.http.parts import check_takes_work, owner, parts
from service.http.vocabulary import HEADERS
from service.jobs.model import Upload
from service.problems import Code, Problem
from service.schemas.uploads import UploadResource

router = APIRouter(prefix="/v1/uploads", tags=["Uploads"])

_PICTURE = {"type": "string", "format": "binary"}
_BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {"image": {**_PICTURE, "description": "The picture."}},
                "required": ["image"],
                "additionalProperties": False,
            }
        },
        **{media: {"schema": {**_PICTURE, "contentMediaType": media}} for media in IMAGES.values()},
    },
}


@router.post(
    "",
    status_code=201,
    response_model=UploadResource,
    summary="Send a picture ahead",
    responses=described({201: HEADERS["private"]}, 400, 406, 413, 415, 422, 503),
    openapi_extra={"requestBody": _BODY},
)
async def upload(request: Request) -> Response:
    """The picture as the raw body, or as `image` in multipart/form-data. It can be used until it expires."""
    require_json(request)
    given = parts(request)
    check_takes_work(given)
    body = await receive(request, given.settings.max_bytes)
    try:
        if body.shape is Shape.JSON:
            raise Problem(Code.UNSUPPORTED_MEDIA_TYPE, "send the picture itself, or multipart/form-data with `image`")
        for name in sorted({*body.fields, *body.files} - {"image"}):
            message = "there is no such field"
            error = {"field": name[:80], "message": message}
            raise Problem(Code.INVALID_PARAMETER, f"{name[:80]}: {message}", errors=[error])
        if "image" not in body.files:
            error = {"field": "image", "message": "it is needed"}
            raise Problem(Code.INVALID_PARAMETER, "image: it is needed", errors=[error])
        async with given.intake_slots:
            data = await to_thread.run_sync(body.read, "image")
            found = await given.intake.examine(data, "image")
            digest = await to_thread.run_sync(lambda: hashlib.sha256(data).hexdigest())
            reference = await to_thread.run_sync(given.service.blobs.put, data, "upload")
    finally:
        body.close()
    now = datetime.now(UTC)
    stored = Upload(
        id=secrets.token_urlsafe(24),
        owner=owner(request),
        reference=reference,
        format=found.format,
        width=found.width,
        height=found.height,
        size=len(data),
        sha256=digest,
        created_at=now,
        expires_at=now + timedelta(seconds=given.settings.upload_seconds),
    )
    await to_thread.run_sync(given.service.store.add_upload, stored)
    return Response(
        UploadResource.of(stored).model_dump_json(), 201, {"Cache-Control": "private, no-store"}, media_type=JSON
    )
