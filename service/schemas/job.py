"""The job as clients see it: one form for answers, events and webhooks."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field, JsonValue

from service.jobs.model import Job, JobState
from service.schemas.base import Answered

EXAMPLE_ID = "0192f0c1-3a58-7cc1-8f0d-3d1c1c9a1b2e"


class Progress(Answered):
    """How far a job has come."""

    step: int = Field(ge=0)
    """Denoiser calls answered."""
    steps: int = Field(ge=0)
    """Denoiser calls in all; 0 until known."""
    fraction: float = Field(ge=0.0, le=1.0)
    """Of all the work that is done; calls need not be alike, and parts of one count. 1 once the job has succeeded."""


class InputPicture(Answered):
    """The given picture."""

    format: str
    """As found in its bytes."""
    width: int = Field(ge=0)
    """Upright, in pixels."""
    height: int = Field(ge=0)
    """Upright, in pixels."""


class ResultPicture(Answered):
    """The restored picture."""

    url: str
    """Where it lies until the job expires."""
    media_type: str
    """Such as image/png."""
    width: int = Field(ge=1)
    """In pixels."""
    height: int = Field(ge=1)
    """In pixels."""
    sha256: str
    """Of the file, in hexadecimal."""
    b64: str | None = None
    """The file in base64, where `inline` asked for it."""


class JobFailure(Answered):
    """Why a job failed."""

    code: str
    """One of the problem codes."""
    message: str
    """What happened, and what to do."""


class Warned(Answered):
    """What the user should know about a result."""

    code: str
    """For programs."""
    message: str
    """For people."""


class Links(Answered):
    """Where the rest is."""

    self: str
    """The job."""
    events: str
    """Its server-sent events."""
    cancel: str
    """POST here to cancel it."""
    result: str | None = None
    """The restored picture."""
    uncertainty: str | None = None
    """Where the posterior samples disagree."""
    report: str | None = None
    """How the result came about."""


class JobResource(Answered):
    """A restoration: waiting, being worked on, or ended."""

    id: str = Field(json_schema_extra={"format": "uuid"}, examples=[EXAMPLE_ID])
    """UUIDv7."""
    state: JobState
    """queued, running, then succeeded, failed or canceled, and expired once its files were removed."""
    task: str
    """The task asked for."""
    created_at: datetime
    """When it was submitted."""
    started_at: datetime | None = None
    """When the last attempt began."""
    finished_at: datetime | None = None
    """When it ended."""
    expires_at: datetime | None = None
    """When its files will be removed."""
    attempt: int = Field(ge=0)
    """How many times it was started."""
    cancel_requested: bool
    """Whether a running job was asked to stop."""
    progress: Progress
    """How far it has come."""
    prior: str | None = None
    """The prior asked for; null for the server's default."""
    priority: str
    """interactive or batch."""
    parameters: dict[str, JsonValue]
    """Of the task, as given."""
    effective: dict[str, JsonValue]
    """What the result was made with: parameters, what was found in the picture, seed, prior and its digest."""
    input: InputPicture
    """The given picture."""
    result: ResultPicture | None = None
    """The restored picture, once there is one."""
    warnings: list[Warned]
    """What the user should know."""
    metrics: dict[str, float]
    """Seconds by stage (queue, decode, restore, encode) and denoiser calls (nfe)."""
    degraded: str | None = None
    """A fallback that changed how the work ran, such as tile=256;reason=oom."""
    error: JobFailure | None = None
    """Why it failed."""
    request_id: str
    """Of the request that submitted it."""
    links: Links
    """Where the rest is."""

    @classmethod
    def of(cls, job: Job, b64: str | None = None) -> JobResource:
        """A stored job, with its result in base64 if given."""
        path = f"/v1/jobs/{job.id}"
        done = job.state is JobState.SUCCEEDED
        result = None
        if done:
            result = ResultPicture(
                url=f"{path}/result", media_type=job.media_type, width=job.width, height=job.height,
                sha256=job.sha256, b64=b64,
            )  # fmt: skip
        fraction = 1.0 if done else job.fraction
        return cls(
            id=job.id,
            state=job.state,
            task=job.spec.task,
            created_at=job.created_at,
            started_at=job.started_at,
            finished_at=job.finished_at,
            expires_at=job.expires_at,
            attempt=job.attempt,
            cancel_requested=job.cancel_requested,
            progress=Progress(step=job.step, steps=job.steps, fraction=fraction),
            prior=job.spec.prior,
            priority=job.spec.priority,
            parameters=job.spec.parameters,
            effective=job.effective,
            input=InputPicture(format=job.spec.format, width=job.spec.width, height=job.spec.height),
            result=result,
            warnings=[Warned(code=w.get("code", ""), message=w.get("message", "")) for w in job.warnings],
            metrics=job.metrics,
            degraded=job.degraded or None,
            error=JobFailure(code=job.error.code, message=job.error.message) if job.error else None,
            request_id=job.spec.request_id,
            links=Links(
                self=path,
                events=f"{path}/events",
                cancel=f"{path}/cancel",
                result=f"{path}/result" if done else None,
                uncertainty=f"{path}/uncertainty" if done and "uncertainty" in job.outputs else None,
                report=f"{path}/report" if done else None,
            ),
        )

    def json_ready(self) -> dict[str, Any]:
        """Plain dictionaries, lists, strings and numbers; times in ISO 8601."""
        return self.model_dump(mode="json")


class JobPage(Answered):
    """Some jobs, newest first."""

    data: list[JobResource]
    """The jobs."""
    has_more: bool
    """Whether there are older ones."""
    next_cursor: str | None = None
    """Give it as `cursor` to get them."""
