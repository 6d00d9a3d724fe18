"""Every error this package raises on purpose.

    PellucidError
    |-- APIError                         talking to the server
    |   |-- APIConnectionError               no answer: refused, reset, cut off
    |   |   `-- APITimeoutError                  not within the time given
    |   |-- APIResponseError                 an answer that is not what the contract says
    |   `-- APIStatusError                   an answer with an error status
    |       |-- BadRequestError                  400
    |       |-- AuthenticationError              401
    |       |-- PermissionDeniedError            403
    |       |-- NotFoundError                    404
    |       |-- NotAcceptableError               406
    |       |-- RequestTimeoutError              408
    |       |-- ConflictError                    409
    |       |-- ExpiredError                     410
    |       |-- PayloadTooLargeError             413
    |       |-- UnsupportedMediaTypeError        415
    |       |-- UnprocessableError               422
    |       |-- RateLimitError                   429
    |       |-- ServiceUnavailableError          503
    |       `-- InternalServerError              every other 5xx
    |-- JobError                         the job ended without a result
    |   |-- JobFailedError
    |   |-- JobCanceledError
    |   `-- JobExpiredError
    |-- JobTimeoutError                  the job has not ended yet
    |-- InvalidWebhookError              a webhook that the server did not sign, or not lately
    |-- MissingExtraError                Pillow or numpy is not installed
    `-- InvalidInputError                an argument that cannot be sent

Messages name the offender and say what to do. An `APIStatusError` carries the server's stable `code`, the whole problem
document and the `request_id` to quote when asking for help.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pellucid_client._models import JobInfo
    from pellucid_client._response import Response


class PellucidError(Exception):
    """Base of every error raised on purpose.

    Attributes:
        request_id: of the answer it came with; None when there was none.
    """

    request_id: str | None = None


class APIError(PellucidError):
    """Talking to the server went wrong.

    Attributes:
        request_id: of the answer, or None.
        attempts: how often the request was sent.
    """

    attempts: int = 1


class APIConnectionError(APIError):
    """No (whole) answer came: refused, reset, cut off, no such host."""


class APITimeoutError(APIConnectionError):
    """The time given to the call is over."""


class APIResponseError(APIError):
    """An answer that is not what the contract says, from something between here and the server perhaps.

    Args:
        message: what is wrong with it.
        response: the answer.
    """

    def __init__(self, message: str, response: Response) -> None:
        super().__init__(message)
        self.response = response
        self.request_id = response.request_id


class APIStatusError(APIError):
    """An answer with an error status.

    Attributes:
        status_code: HTTP status.
        code: the server's stable error code, such as "image_size"; None when something else answered.
        problem: the problem document (RFC 9457); {} when something else answered.
        errors: [{"field", "message"}], for requests that do not validate.
        response: the answer.
        request_id: to quote when asking for help.
        retry_after: seconds the server asked to wait; None when it did not.
    """

    def __init__(self, response: Response, problem: Mapping[str, Any]) -> None:
        self.response = response
        self.status_code = response.status_code
        self.problem = dict(problem)
        code = problem.get("code")
        self.code: str | None = code if isinstance(code, str) else None
        errors = problem.get("errors")
        self.errors: list[Any] = list(errors) if isinstance(errors, list) else []
        self.request_id = response.request_id
        self.retry_after = response.retry_after
        super().__init__(self._worded(problem))

    def _worded(self, problem: Mapping[str, Any]) -> str:
        said = str(problem.get("detail") or problem.get("title") or "no details given")
        fields = "; ".join(
            f"{error['field']}: {error.get('message')}"
            for error in self.errors
            if isinstance(error, dict) and "field" in error and str(error.get("message")) not in said
        )
        if fields:
            said = f"{said} ({fields})"
        marks = [f"HTTP {self.status_code}", *([self.code] if self.code else [])]
        if self.request_id:
            marks.append(f"request {self.request_id}")
        return f"{said} [{', '.join(marks)}]"


class BadRequestError(APIStatusError):
    """400: the request is malformed."""


class AuthenticationError(APIStatusError):
    """401: no API key, or one the server does not know."""


class PermissionDeniedError(APIStatusError):
    """403: the key may not do this, or the host or origin is not allowed."""


class NotFoundError(APIStatusError):
    """404: no such job, model or address."""


class NotAcceptableError(APIStatusError):
    """406: the server cannot answer in the format asked for."""


class RequestTimeoutError(APIStatusError):
    """408: the server did not get the whole request in time."""


class ConflictError(APIStatusError):
    """409: the job is not finished, or has ended already."""


class ExpiredError(APIStatusError):
    """410: the result is no longer kept."""


class PayloadTooLargeError(APIStatusError):
    """413: too many bytes."""


class UnsupportedMediaTypeError(APIStatusError):
    """415: not a picture format that the server takes."""


class UnprocessableError(APIStatusError):
    """422: an undecodable or too large picture, a parameter out of range, too much work."""


class RateLimitError(APIStatusError):
    """429: this key is over its quota."""


class InternalServerError(APIStatusError):
    """5xx: the server, or something before it, failed."""


class ServiceUnavailableError(APIStatusError):
    """503: the server is starting, saturated or stopping, or cannot reach its storage."""


BY_STATUS: Mapping[int, type[APIStatusError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    406: NotAcceptableError,
    408: RequestTimeoutError,
    409: ConflictError,
    410: ExpiredError,
    413: PayloadTooLargeError,
    415: UnsupportedMediaTypeError,
    422: UnprocessableError,
    429: RateLimitError,
    503: ServiceUnavailableError,
}


class JobError(PellucidError):
    """The job ended without a result.

    Args:
        job: as the server describes it.

    Attributes:
        job: likewise.
        code: the server's stable error code, of a job that failed; None otherwise.
        request_id: of the answer that said so.
    """

    def __init__(self, job: JobInfo) -> None:
        self.job = job
        self.code = job.error.code if job.error else None
        self.request_id = job.response.request_id if job.response else None
        super().__init__(self._worded(job))

    def _worded(self, job: JobInfo) -> str:
        why = f": {job.error.message} [{job.error.code}]" if job.error else ""
        return f"job {job.id} {job.state}{why}"


class JobFailedError(JobError):
    """The job failed; `code` and the message say why."""


class JobCanceledError(JobError):
    """The job was cancelled."""


class JobExpiredError(JobError):
    """The job's result is no longer kept."""


class JobTimeoutError(PellucidError, TimeoutError):
    """The job has not ended within the time given.

    Attributes:
        job_id: of the job.
        canceled: whether it was told to stop, as by `Client.denoise`, which started it and waits no more; the job of a
            `Job` handle goes on, and can be waited for again.
        request_id: None.
    """

    def __init__(self, job_id: str, seconds: float, *, canceled: bool = False) -> None:
        what = "it was told to stop; give a longer timeout, or submit it" if canceled else "it goes on: wait again"
        super().__init__(f"job {job_id} has not ended after {seconds:g} s; {what}")
        self.job_id, self.canceled, self._seconds = job_id, canceled, seconds

    def stopped(self) -> JobTimeoutError:
        """The same, once the job was told to stop."""
        return JobTimeoutError(self.job_id, self._seconds, canceled=True)


class InvalidWebhookError(PellucidError):
    """A webhook whose signature, time or body is not what the server would have sent."""


class MissingExtraError(PellucidError, ImportError):
    """An optional package is not installed; the message names the command that installs it."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed: pip install 'pellucid-client[{extra}]'")


class InvalidInputError(PellucidError, ValueError):
    """An argument that cannot be sent; the message names it and says what is taken."""
