"""What the OpenAPI document says of headers, links and events: the pieces that routes refer to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from service.http.negotiation import JSON, KEY_PATTERN

Schema = dict[str, Any]


def header(description: str, example: str, required: bool = True) -> Schema:
    """A header whose values are strings."""
    return {
        "description": description,
        "required": required,
        "schema": {"type": "string"},
        "example": example,
    }


#: Of every answer.
ID = {"X-Request-Id": header("The request's id, given by the client or made up.", "5f0c2a9be3e34c2d8e1f")}
_PRIVATE = {**ID, "Cache-Control": header("Results are nobody else's.", "private, no-store")}
_JOB = {
    **_PRIVATE,
    "Pellucid-Job": header("Id of the job.", "0192f0c1-3a58-7cc1-8f0d-3d1c1c9a1b2e"),
    "Vary": header("What the answer depends on.", "Accept, Prefer"),
    "Server-Timing": header("Milliseconds by stage.", "queue;dur=1.2, decode;dur=8.0, restore;dur=184.0", False),
    "Pellucid-Seed": header("Of every random number.", "0", False),
    "Pellucid-Model": header("The prior and the digest of its weights.", "photo@sha256:ab12", False),
    "Pellucid-Degraded": header("A fallback that changed how the work ran.", "tile=256;reason=oom", False),
}
_ETAG = {**_PRIVATE, "ETag": header("Of this form; send it back in If-None-Match.", '"9f86d081884c"')}
_REPLAYED = header("The idempotency key found an earlier request's job.", "true", False)
_APPLIED = header("The preferences that were followed (RFC 7240).", "wait=30", False)
_LOCATION = header("The job.", "/v1/jobs/0192f0c1-3a58-7cc1-8f0d-3d1c1c9a1b2e")
#: Besides, of what may be tried again.
RETRY = {"Retry-After": header("Seconds to wait.", "2")}

_PRIOR = header("The prior.", "/v1/models/ddpm-cifar10-32")

#: Headers of answers that are no errors, by kind.
HEADERS: Mapping[str, Schema] = {
    "id": ID,
    "private": _PRIVATE,
    "pulling": {**ID, "Location": _PRIOR},
    "job": _JOB,
    "etag": _ETAG,
    "picture": {**_JOB, "ETag": _ETAG["ETag"]},
    "part": {**_JOB, "ETag": _ETAG["ETag"], "Content-Range": header("Which bytes.", "bytes 0-99/2048")},
    "done": {**_JOB, "Idempotent-Replayed": _REPLAYED, "Preference-Applied": _APPLIED},
    "accepted": {**_JOB, "Idempotent-Replayed": _REPLAYED, "Preference-Applied": _APPLIED, "Location": _LOCATION},
}


def _of_job(id: str) -> Schema:
    return {
        name: {"operationId": operation, "parameters": {"job_id": id}}
        for name, operation in [
            ("job", "get_job_v1_jobs__job_id__get"),
            ("events", "follow_v1_jobs__job_id__events_get"),
            ("result", "result_v1_jobs__job_id__result_get"),
            ("uncertainty", "uncertainty_v1_jobs__job_id__uncertainty_get"),
            ("report", "report_v1_jobs__job_id__report_get"),
            ("cancel", "cancel_v1_jobs__job_id__cancel_post"),
            ("delete", "delete_v1_jobs__job_id__delete"),
        ]
    }


#: Where an answer with a job leads.
JOB_LINKS = _of_job("$response.body#/id")


def _preferences(*known: str) -> Schema:
    """Unknown preferences are ignored, as RFC 7240 demands, and therefore allowed."""
    return {"anyOf": [{"type": "string", "enum": list(known)}, {"type": "string"}]}


def _ignorable(pattern: str) -> Schema:
    """A header that is ignored where it makes no sense, as RFC 9110 demands (13.1.2, 14.2), and therefore allowed."""
    return {"anyOf": [{"type": "string", "pattern": pattern}, {"type": "string"}]}


_PARAMETERS: Mapping[str, Schema] = {
    "prefer": {
        "name": "Prefer",
        "in": "header",
        "description": "respond-async: 202 at once; wait=30: 202 unless done within 30 s (RFC 7240).",
        "schema": _preferences("respond-async", "wait=30", "wait=1", "respond-async, wait=2"),
    },
    "prefer_wait": {
        "name": "Prefer",
        "in": "header",
        "description": "wait=20: answer once the job has ended, or after 20 s.",
        "schema": _preferences("wait=1"),
    },
    "idempotency_key": {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "The same key with the same bytes and parameters gives the same job, whatever got lost.",
        "schema": {"type": "string", "pattern": KEY_PATTERN},
        "example": "8e03978e-40d5-43dd-bc93-6894a57f9324",
    },
    "if_none_match": {
        "name": "If-None-Match",
        "in": "header",
        "description": "The ETag that the client has: 304 if nothing changed.",
        "schema": _ignorable(r'^(W/)?"[0-9a-f]{1,64}"$'),
        "example": '"9f86d081884c"',
    },
    "range": {
        "name": "Range",
        "in": "header",
        "description": "A part of the file.",
        "schema": _ignorable(r"^bytes=[0-9]{1,9}-[0-9]{0,9}$"),
        "example": "bytes=0-1023",
    },
    "last_event_id": {
        "name": "Last-Event-ID",
        "in": "header",
        "description": "Go on behind this event.",
        "schema": {"type": "string", "pattern": r"^[0-9]{1,9}$"},
        "example": "12",
    },
}


def parameters(*names: str) -> Schema:
    """`openapi_extra` of a route that reads these headers."""
    return {"parameters": [dict(_PARAMETERS[name]) for name in names]}


#: One event of a stream; docs/api.md tells what its data is, by type.
SERVER_SENT_EVENT: Schema = {
    "title": "ServerSentEvent",
    "type": "object",
    "properties": {
        "id": {"type": "string", "pattern": "^[0-9]+$", "description": "Rises by one within a job."},
        "event": {
            "type": "string",
            "enum": ["queued", "started", "progress", "preview", "warning", "completed"],
            "description": "What happened.",
        },
        "data": {"type": "string", "contentMediaType": JSON, "description": "A JSON object."},
    },
    "required": ["id", "event", "data"],
    "example": {"id": "3", "event": "progress", "data": '{"step":1,"steps":8}'},
}
