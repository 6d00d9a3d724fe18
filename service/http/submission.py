"""What a request submits: its pictures, stored beside their examination, and the job that is made of them."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from anyio import to_thread
from starlette.requests import Request

from service.blobs import BlobStore
from service.http.errors import request_id
from service.http.parts import Parts, owner
from service.http.pictures import Submitted
from service.jobs.model import NewJob, OutputOptions, Priority
from service.jobs.store import Submission
from service.problems import Code, Problem
from service.schemas.parameters import HANDLING


@contextmanager
def let_in(given: Parts) -> Iterator[None]:
    """A submission whose body is there, on its way to the queue: those that come later find less room."""
    given.arriving += 1
    try:
        yield
    finally:
        given.arriving -= 1


class Stored:
    """Pictures that are being stored.

    Attributes:
        keep: whether they stay: a job owns them now.
    """

    def __init__(self, task: asyncio.Future[tuple[dict[str, str], dict[str, str]]]) -> None:
        self._task = task
        self.keep = False

    async def found(self) -> tuple[dict[str, str], dict[str, str]]:
        """sha256 and blob reference of every picture, once they are durable."""
        return await asyncio.shield(self._task)


@asynccontextmanager
async def storing(blobs: BlobStore, inputs: Mapping[str, bytes]) -> AsyncIterator[Stored]:
    """Store pictures while the block does something else with them; they are removed again unless it keeps them."""
    stored = Stored(asyncio.ensure_future(to_thread.run_sync(_store, blobs, inputs)))
    try:
        yield stored
    finally:
        if not stored.keep:
            _, references = await stored.found()
            for reference in references.values():
                await to_thread.run_sync(blobs.delete, reference)


def _store(blobs: BlobStore, inputs: Mapping[str, bytes]) -> tuple[dict[str, str], dict[str, str]]:
    digests = {role: hashlib.sha256(data).hexdigest() for role, data in inputs.items()}
    return digests, {role: blobs.put(data, "input") for role, data in inputs.items()}


async def queue(given: Parts, new: NewJob, stored: Stored) -> Submission:
    """Queue a job, which owns its pictures from then on.

    Raises:
        Problem: SATURATED, QUOTA, IDEMPOTENCY_MISMATCH, ...
    """
    submission = await given.service.submit(new)
    stored.keep = not submission.replayed
    return submission


async def new_job(
    request: Request, given: Parts, submitted: Submitted, stored: Stored, output: str, key: str | None
) -> NewJob:
    """What a request submits.

    Args:
        request: whose it is.
        given: of the application.
        submitted: checked.
        stored: its pictures.
        output: format of the result.
        key: for idempotency.

    Raises:
        Problem: INVALID_PARAMETER, a webhook that this server cannot sign; URL_REFUSED, one that it will not send to.
    """
    parameters = submitted.parameters
    dumped = parameters.model_dump(exclude={"image", "mask", "kernel"})
    if parameters.webhook is not None:
        if given.settings.webhook_secret is None:
            error = {"field": "webhook", "message": "this server signs no webhooks: PELLUCID_WEBHOOK_SECRET is not set"}
            raise Problem(Code.INVALID_PARAMETER, f"webhook: {error['message']}", errors=[error])
        await given.webhooks.check(parameters.webhook)
    digests, references = await stored.found()
    return NewJob(
        task=parameters.task,
        parameters={name: value for name, value in dumped.items() if name not in HANDLING},
        inputs=references,
        owner=owner(request),
        prior=parameters.prior,
        priority=Priority(parameters.priority),
        output=OutputOptions(output, parameters.output_quality, parameters.keep_gps),
        width=submitted.image.width,
        height=submitted.image.height,
        format=submitted.image.format,
        previews=parameters.previews,
        webhook=parameters.webhook,
        request_id=request_id(request),
        idempotency_key=key,
        fingerprint=fingerprint(dumped | {"output_format": output}, digests),
    )


def fingerprint(parameters: Mapping[str, Any], digests: Mapping[str, str]) -> str:
    """sha256 over a submission: its parameters, the result's format among them, and its pictures' digests."""
    said = {name: value for name, value in parameters.items() if name != "inline"}
    canonical = json.dumps({"parameters": said, "inputs": dict(digests)}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
