"""Errors: RFC 9457 problem details with a code."""

from __future__ import annotations

from pydantic import Field

from service.problems import Code
from service.schemas.base import Answered


class FieldError(Answered):
    """What is wrong with one field."""

    field: str
    """Its name, with dots into nested objects: "image.b64"."""
    message: str
    """What is wrong and what would be right."""


class ProblemDetails(Answered):
    """Why a request was not served."""

    type: str = Field(examples=["/problems/invalid_parameter"])
    """Address of a description of the code."""
    title: str = Field(examples=["Invalid parameter"])
    """The code in words."""
    status: int = Field(ge=400, le=599)
    """The HTTP status."""
    detail: str
    """What is wrong this time, and what to do."""
    instance: str = Field(examples=["/v1/jobs/0192f0c1-3a58-7cc1-8f0d-3d1c1c9a1b2e"])
    """Path of the request."""
    code: Code
    """For programs to switch on."""
    request_id: str
    """To be named when asking for help."""
    errors: list[FieldError] = Field(default_factory=list)
    """The fields that are wrong, one by one."""
    job: str | None = None
    """Id of the job that the problem is about."""
    error: str | None = None
    """The detail once more, under /v2 only, where clients of the Open Inference Protocol look for it."""
