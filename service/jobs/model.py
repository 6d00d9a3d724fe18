"""A job and the states it can be in."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class JobState(StrEnum):
    """queued -> running -> succeeded | failed | canceled; an ended job whose files were removed is expired.

    A running job whose worker died, or that a draining server gave back, is queued again.
    """

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    EXPIRED = "expired"

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to the job but expiry."""
        return self not in (JobState.QUEUED, JobState.RUNNING)


class Priority(StrEnum):
    """Interactive jobs go first; batch jobs get at least a share, so that they do not starve."""

    INTERACTIVE = "interactive"
    BATCH = "batch"


@dataclass(frozen=True)
class OutputOptions:
    """How the result is to be encoded.

    Attributes:
        format: "png", "jpeg", "webp", "tiff", "avif"; None for the given picture's.
        quality: 1-100 for lossy formats.
        keep_gps: keep the place in EXIF.
    """

    format: str | None = None
    quality: int | None = None
    keep_gps: bool = False


@dataclass(frozen=True)
class NewJob:
    """What a submission says.

    Attributes:
        task: a name of `restore.tasks.TASKS`.
        parameters: JSON-ready fields of `restore.tasks.parameters.Parameters` as given, without mask and kernel.
        inputs: role ("image", "mask", "kernel") -> blob reference. A kernel is a JSON list of rows.
        owner: id of the API key that submitted it; "" when there is no authentication.
        prior: name; None for the server's default.
        priority: see `Priority`.
        output: how to encode.
        width, height, format: of the given picture, upright, as the intake found them.
        previews: whether preview events are wanted.
        webhook: URL told of the end; None for none.
        request_id: of the submitting request.
        idempotency_key, fingerprint: of the submission (sha256 over bytes and parameters), or None and "".
    """

    task: str
    parameters: dict[str, Any]
    inputs: dict[str, str]
    owner: str = ""
    prior: str | None = None
    priority: Priority = Priority.INTERACTIVE
    output: OutputOptions = OutputOptions()
    width: int = 0
    height: int = 0
    format: str = ""
    previews: bool = False
    webhook: str | None = None
    request_id: str = ""
    idempotency_key: str | None = None
    fingerprint: str = ""


@dataclass(frozen=True)
class JobError:
    """Why a job failed: a `service.problems.Code` value and a public message."""

    code: str
    message: str


@dataclass(frozen=True)
class Job:
    """A job as stored. Times are aware, in UTC.

    Attributes:
        id: UUIDv7 in its canonical form.
        spec: what was submitted.
        state: see `JobState`.
        attempt: how many times it was started; starts that a drain or another's crash undid do not count.
        crashes: how many attempts killed their worker.
        fence: grows with each claim; a write with an older one is refused.
        cancel_requested: a running job was asked to stop.
        step, steps: denoiser calls answered, and to be made in all (0 until known).
        fraction: of all the work that is done, 0 to 1; calls need not be alike, and parts of one count.
        outputs: role ("result", "uncertainty") -> blob reference, once it succeeded.
        media_type, width, height, sha256: of the result.
        effective: effective parameters, what was found, seed, prior and digest: the report of the restoration.
        warnings: [{"code", "message"}].
        metrics: seconds by stage ("queue", "decode", "restore", "encode") and "nfe".
        degraded: what changed how the work ran, such as "tile=256;reason=oom"; "" when nothing did.
        error: of a failed job.
    """

    id: str
    spec: NewJob
    state: JobState
    created_at: datetime
    attempt: int = 0
    crashes: int = 0
    fence: int = 0
    cancel_requested: bool = False
    started_at: datetime | None = None
    finished_at: datetime | None = None
    expires_at: datetime | None = None
    step: int = 0
    steps: int = 0
    fraction: float = 0.0
    device: str = ""
    outputs: dict[str, str] = field(default_factory=dict)
    media_type: str = ""
    width: int = 0
    height: int = 0
    sha256: str = ""
    effective: dict[str, Any] = field(default_factory=dict)
    warnings: list[dict[str, str]] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)
    degraded: str = ""
    error: JobError | None = None


@dataclass(frozen=True)
class Event:
    """Something that happened to a job; ids rise by one within a job and survive a restart.

    Attributes:
        id: from 1.
        type: "queued", "started", "progress", "preview", "warning", "completed".
        data: JSON-ready; see the contract (docs/api.md). Previews carry {"media_type", "b64", "step", "steps"}.
    """

    id: int
    type: str
    data: dict[str, Any]


@dataclass(frozen=True)
class Upload:
    """A picture sent ahead of the jobs that use it.

    Attributes:
        id: unguessable.
        owner: id of the API key that sent it; "" when there is no authentication. Nobody else may use it.
        reference: of the blob.
        format, width, height: as the intake found them.
        size: in bytes.
        sha256: of the bytes, in hexadecimal.
    """

    id: str
    owner: str
    reference: str
    format: str
    width: int
    height: int
    size: int
    sha256: str
    created_at: datetime
    expires_at: datetime
