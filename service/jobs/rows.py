"""Between rows of the tables and the dataclasses of `service.jobs.model`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from sqlalchemy import Row

from service.jobs.model import Job, JobError, JobState, NewJob, OutputOptions, Priority, Upload


def spec_to_json(new: NewJob) -> dict[str, Any]:
    """A submission as the column `spec` holds it."""
    return asdict(new)


def spec_from_json(spec: dict[str, Any]) -> NewJob:
    """The submission that a column `spec` holds."""
    return NewJob(**{**spec, "priority": Priority(spec["priority"]), "output": OutputOptions(**spec["output"])})


def job_from_row(row: Row[Any]) -> Job:
    """The job that a row of `jobs` holds."""
    outcome: dict[str, Any] = row.outcome or {}
    return Job(
        id=row.id,
        spec=spec_from_json(row.spec),
        state=JobState(row.state),
        created_at=row.created_at,
        attempt=row.attempt,
        crashes=row.crashes,
        fence=row.fence,
        cancel_requested=row.cancel_requested,
        started_at=row.started_at,
        finished_at=row.finished_at,
        expires_at=row.expires_at,
        step=row.step,
        steps=row.steps,
        fraction=row.fraction,
        device=row.device,
        error=JobError(**row.error) if row.error else None,
        **outcome,
    )


def upload_from_row(row: Row[Any]) -> Upload:
    """The upload that a row of `uploads` holds."""
    return Upload(**row._asdict())
