"""What the server says, typed. Fields that a newer server adds are kept, and none of them breaks an older client."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

from pellucid_client._errors import APIResponseError
from pellucid_client._response import Response
from pellucid_client._sse import ServerSentEvent

JobState = Literal["queued", "running", "succeeded", "failed", "canceled", "expired"]


class Model(BaseModel):
    """Base of everything the server says."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())

    _response: Response | None = PrivateAttr(default=None)

    @property
    def response(self) -> Response | None:
        """The answer this was made from; None for a part of an answer."""
        return self._response

    @classmethod
    def from_response(cls, response: Response) -> Self:
        """Read an answer.

        Raises:
            APIResponseError: it is not what the contract says.
        """
        try:
            made = cls.model_validate(response.json())
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise APIResponseError(
                f"the answer is no {cls.__name__} ({where}: {first['msg']}); "
                "is this a Pellucid server, and not newer than this client?",
                response,
            ) from error
        made._response = response
        return made


class JobProblem(Model):
    """Why a job failed.

    Attributes:
        code: stable, such as "worker_crashed".
        message: what happened, in words.
    """

    code: str
    message: str = ""


class Warning(Model):
    """Something about the result that should be known.

    Attributes:
        code: stable.
        message: in words.
    """

    code: str
    message: str = ""


class Progress(Model):
    """How far a job has come.

    Attributes:
        step, steps: calls of the prior answered, and in all (0 until known).
        fraction: of the whole, 0 to 1.
    """

    step: int = 0
    steps: int = 0
    fraction: float = 0.0


class Picture(Model):
    """A given or a restored picture.

    Attributes:
        width, height: in pixels, upright.
        format: of a given one, such as "jpeg".
        media_type: of a restored one, such as "image/png".
        sha256: of a restored one's file.
    """

    width: int = 0
    height: int = 0
    format: str | None = None
    media_type: str | None = None
    sha256: str | None = None


class JobInfo(Model):
    """A job as the server describes it.

    Attributes:
        id: of the job.
        state: "queued", "running", "succeeded", "failed", "canceled" or "expired".
        task: what is restored.
        attempt: how often it was started.
        created_at, started_at, finished_at, expires_at: times; None for what has not happened.
        progress: how far it has come.
        prior: that was asked for; None for the server's default.
        priority: "interactive" or "batch".
        parameters: as they were given.
        effective: parameters as they were used, what was found, seed, prior and digest: all it takes to run it again.
        warnings: what should be known about the result.
        metrics: seconds by stage, and "nfe", the number of calls of the prior.
        degraded: what changed how the work ran, such as "tile=256;reason=oom"; None when nothing did.
        error: why it failed.
        cancel_requested: a running job was asked to stop.
        input: the given picture.
        result: the restored one, once there is one.
    """

    id: str
    state: JobState
    task: str = ""
    attempt: int = 0
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    expires_at: datetime | None = None
    progress: Progress = Field(default_factory=Progress)
    prior: str | None = None
    priority: str | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
    effective: dict[str, Any] = Field(default_factory=dict)
    warnings: list[Warning] = Field(default_factory=list)
    metrics: dict[str, float] = Field(default_factory=dict)
    degraded: str | None = None
    error: JobProblem | None = None
    cancel_requested: bool = False
    input: Picture | None = None
    result: Picture | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it, expiry aside."""
        return self.state not in ("queued", "running")


class JobPage(Model):
    """Some jobs, newest first.

    Attributes:
        data: the jobs.
        has_more: whether there are older ones.
        next_cursor: what `cursor` is to be for those.
    """

    data: list[JobInfo]
    has_more: bool = False
    next_cursor: str | None = None


class ModelInfo(Model):
    """A prior or adapter that the server can restore with.

    Attributes:
        name: what `prior=` takes.
        kind: "prior" or "adapter".
        tasks: what it serves.
        licence: SPDX names, for "code" and "weights".
        digest: sha256 of its weights.
        runtime: what runs it.
        default: whether it is used when none is named.
        loaded: whether a worker has it in memory.
    """

    name: str
    kind: str | None = None
    tasks: list[str] = Field(default_factory=list)
    licence: dict[str, str] = Field(default_factory=dict)
    default: bool = False
    digest: str | None = None
    runtime: str | None = None
    loaded: bool | None = None


class ModelList(Model):
    """All models of a server.

    Attributes:
        data: the models.
    """

    data: list[ModelInfo]


class Upload(Model):
    """A picture that lies on the server and can be restored several times without being sent again.

    Attributes:
        upload_id: what names it.
        sha256: of its bytes.
        bytes: how many.
        media_format: as found in its bytes, such as "jpeg".
        width, height: in pixels, upright.
        expires_at: until when it is kept.
    """

    upload_id: str
    sha256: str | None = None
    bytes: int | None = None
    media_format: str | None = None
    width: int | None = None
    height: int | None = None
    expires_at: datetime | None = None


class Report(Model):
    """How a restoration came about: everything needed to run it again, and what was found on the way.

    Attributes:
        task: what was restored; for "auto" what was chosen.
        parameters: as they were used.
        found: what was estimated in the picture, such as the noise level.
        seed: of every random number.
        nfe: calls of the prior.
        seconds: the restoration alone.
        prior, digest, runtime: what restored it.
        warnings: in words.
    """

    task: str = ""
    parameters: dict[str, Any] = Field(default_factory=dict)
    found: dict[str, Any] = Field(default_factory=dict)
    seed: int | None = None
    nfe: int | None = None
    seconds: float | None = None
    prior: str | None = None
    digest: str | None = None
    runtime: str | None = None
    warnings: list[Any] = Field(default_factory=list)


class Event(Model):
    """Something that happened to a job; the subclasses say what. A type this client does not know is a plain `Event`.

    Attributes:
        id: rises within a job; None for what is not counted.
        type: "queued", "started", "progress", "preview", "warning" or "completed".
    """

    id: int | None = None
    type: str


class QueuedEvent(Event):
    """It waits.

    Attributes:
        position: jobs before it.
    """

    type: Literal["queued"] = "queued"
    position: int | None = None


class StartedEvent(Event):
    """A worker has begun.

    Attributes:
        attempt: how often it was started.
        device: where it runs.
    """

    type: Literal["started"] = "started"
    attempt: int | None = None
    device: str | None = None


class ProgressEvent(Event):
    """A step is done.

    Attributes:
        step, steps: calls of the prior answered, and in all.
        fraction: of the whole, 0 to 1.
        eta_s: seconds left, if known.
    """

    type: Literal["progress"] = "progress"
    step: int
    steps: int
    fraction: float | None = None
    eta_s: float | None = None


class PreviewEvent(Event):
    """The picture as it is now, small.

    Attributes:
        media_type: of the preview.
        b64: its bytes in base64.
        step, steps: when it was taken.
    """

    type: Literal["preview"] = "preview"
    media_type: str = "image/jpeg"
    b64: str
    step: int | None = None
    steps: int | None = None

    @property
    def bytes(self) -> bytes:
        """The encoded preview."""
        return base64.b64decode(self.b64)


class WarningEvent(Event):
    """Something about the result that should be known.

    Attributes:
        code: stable.
        message: in words.
    """

    type: Literal["warning"] = "warning"
    code: str
    message: str = ""


class CompletedEvent(Event):
    """The job has ended, one way or another: the last event.

    Attributes:
        job: as it ended.
    """

    type: Literal["completed"] = "completed"
    job: JobInfo


_EVENTS: Mapping[str, type[Event]] = {
    "queued": QueuedEvent,
    "started": StartedEvent,
    "progress": ProgressEvent,
    "preview": PreviewEvent,
    "warning": WarningEvent,
    "completed": CompletedEvent,
}


def read_event(sent: ServerSentEvent) -> Event | None:
    """An event of a job, or None for what is no JSON object (a proxy's doing)."""
    import json

    try:
        data = json.loads(sent.data)
    except ValueError:
        return None
    if not isinstance(data, dict):
        return None
    number = int(sent.id) if sent.id.isdecimal() else None
    fields = {**data, "id": number, "type": sent.event}
    try:
        return _EVENTS.get(sent.event, Event).model_validate(fields)
    except ValidationError:
        return Event.model_validate(fields)
