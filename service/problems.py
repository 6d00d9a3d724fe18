"""Every error the server answers with: a closed set of codes, each with its HTTP status (RFC 9457 problem details).

`Problem` is what any part of the server raises when a request cannot be served; only `service.http` turns it into an
answer. Its message is public: it names the offender and says what to do, and never holds a traceback, a path of the
server or the request's body.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any


class Code(StrEnum):
    """Stable, documented error codes; a client may switch on them."""

    MALFORMED_REQUEST = "malformed_request"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    HOST_NOT_ALLOWED = "host_not_allowed"
    ORIGIN_NOT_ALLOWED = "origin_not_allowed"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    NOT_ACCEPTABLE = "not_acceptable"
    REQUEST_TIMEOUT = "request_timeout"
    NOT_FINISHED = "not_finished"
    ALREADY_ENDED = "already_ended"
    JOB_FAILED = "job_failed"
    JOB_CANCELED = "job_canceled"
    EXPIRED = "expired"
    TOO_LARGE = "too_large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    UNDECODABLE_IMAGE = "undecodable_image"
    IMAGE_SIZE = "image_size"
    IMAGE_VALUES = "image_values"
    TOO_MANY_FRAMES = "too_many_frames"
    INVALID_PARAMETER = "invalid_parameter"
    UNKNOWN_PRIOR = "unknown_prior"
    PRIOR_PROTECTED = "prior_protected"
    OFFLINE = "offline"
    WORK_BUDGET = "work_budget"
    IDEMPOTENCY_MISMATCH = "idempotency_mismatch"
    URL_REFUSED = "url_refused"
    URL_UNREACHABLE = "url_unreachable"
    UNKNOWN_UPLOAD = "unknown_upload"
    QUOTA = "quota"
    SATURATED = "saturated"
    STARTING = "starting"
    DRAINING = "draining"
    STORAGE_UNAVAILABLE = "storage_unavailable"
    INTERNAL = "internal"
    WORKER_CRASHED = "worker_crashed"
    OUT_OF_MEMORY = "out_of_memory"
    NUMERICAL = "numerical"


STATUS: Mapping[Code, int] = {
    Code.MALFORMED_REQUEST: 400,
    Code.UNAUTHENTICATED: 401,
    Code.FORBIDDEN: 403,
    Code.HOST_NOT_ALLOWED: 403,
    Code.ORIGIN_NOT_ALLOWED: 403,
    Code.NOT_FOUND: 404,
    Code.METHOD_NOT_ALLOWED: 405,
    Code.NOT_ACCEPTABLE: 406,
    Code.REQUEST_TIMEOUT: 408,
    Code.NOT_FINISHED: 409,
    Code.ALREADY_ENDED: 409,
    Code.JOB_FAILED: 409,
    Code.JOB_CANCELED: 409,
    Code.EXPIRED: 410,
    Code.TOO_LARGE: 413,
    Code.UNSUPPORTED_MEDIA_TYPE: 415,
    Code.UNDECODABLE_IMAGE: 422,
    Code.IMAGE_SIZE: 422,
    Code.IMAGE_VALUES: 422,
    Code.TOO_MANY_FRAMES: 422,
    Code.INVALID_PARAMETER: 422,
    Code.UNKNOWN_PRIOR: 422,
    Code.PRIOR_PROTECTED: 409,
    Code.OFFLINE: 409,
    Code.WORK_BUDGET: 422,
    Code.IDEMPOTENCY_MISMATCH: 422,
    Code.URL_REFUSED: 422,
    Code.URL_UNREACHABLE: 422,
    Code.UNKNOWN_UPLOAD: 422,
    Code.QUOTA: 429,
    Code.SATURATED: 503,
    Code.STARTING: 503,
    Code.DRAINING: 503,
    Code.STORAGE_UNAVAILABLE: 503,
    Code.INTERNAL: 500,
    Code.WORKER_CRASHED: 500,
    Code.OUT_OF_MEMORY: 500,
    Code.NUMERICAL: 500,
}


def code_named(name: str) -> Code | None:
    """The code of that value, if there is one."""
    return Code._value2member_map_.get(name)  # type: ignore[return-value]


class Problem(Exception):
    """A request that cannot be served, in public words.

    Args:
        code: decides the status.
        detail: what is wrong and what to do; fit for a stranger's eyes.
        retry_after: seconds, sent as Retry-After; for 429 and 503.
        errors: one object per offending field, {"field": "...", "message": "..."}.
    """

    def __init__(
        self,
        code: Code,
        detail: str,
        *,
        retry_after: float | None = None,
        errors: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        super().__init__(detail)
        self.code, self.detail, self.retry_after, self.errors = code, detail, retry_after, tuple(errors)

    @property
    def status(self) -> int:
        """The HTTP status."""
        return STATUS[self.code]
