"""A job's handle, one that blocks and one that awaits."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

from pellucid_client import _calls as calls
from pellucid_client import _operations as operations
from pellucid_client._calls import Deadline
from pellucid_client._image import AsyncRestoredImage, RestoredImage, UncertaintyMap
from pellucid_client._models import Event, JobInfo, Report

if TYPE_CHECKING:
    from pellucid_client._async_client import AsyncClient
    from pellucid_client._client import Client


class Job:
    """A job on the server. It goes on whatever happens to this program.

    Attributes:
        id: of the job; `client.job(id)` makes a handle again, in another program too.
        info: what was last heard of it; None for a handle that has not asked yet.
    """

    def __init__(self, client: Client, job_id: str, info: JobInfo | None = None) -> None:
        self._client, self.id, self.info = client, job_id, info

    def refresh(self) -> JobInfo:
        """Ask how it is now."""
        self.info = self._client._run(operations.get_job(self.id, self._client._policy))
        return self.info

    def wait(self, timeout: float | None = None) -> JobInfo:
        """Wait until it has ended, one way or another.

        Args:
            timeout: seconds; None for as long as it takes.

        Raises:
            JobTimeoutError: it has not ended; it goes on.
        """
        self.info = self._client._run(calls.wait(self.id, self._client._policy, Deadline.after(timeout)))
        return self.info

    def events(self, after: int = 0, timeout: float | None = None) -> Iterator[Event]:
        """Everything that happens to it, each event once and in order, the last being a `CompletedEvent`.

        A broken connection is made again where it broke.

        Args:
            after: id of an event that is known already; earlier ones are not repeated.
            timeout: seconds; None for as long as it takes.

        Raises:
            JobTimeoutError: it has not ended; it goes on.
        """
        return self._client._iterate(calls.events(self.id, self._client._policy, Deadline.after(timeout), after))

    def result(self, timeout: float | None = None) -> RestoredImage:
        """The restored picture, waiting for it if need be.

        Args:
            timeout: seconds; None for as long as it takes.

        Raises:
            JobFailedError, JobCanceledError, JobExpiredError: there is none.
            JobTimeoutError: there is none yet; the job goes on.
        """
        response = self._client._run(operations.result(self.id, self._client._policy, timeout))
        return RestoredImage(response, self._client)

    def uncertainty(self) -> UncertaintyMap:
        """Where the posterior samples disagree, of a job that succeeded with `samples` of 2 or more.

        Raises:
            NotFoundError: there was only one sample.
        """
        return UncertaintyMap(
            self._client._run(operations.fetch(self.id, "uncertainty", "image/png", self._client._policy))
        )

    def report(self) -> Report:
        """How the result came about, of a job that succeeded."""
        return self._client._run(operations.report(self.id, self._client._policy))

    def cancel(self) -> JobInfo:
        """Ask it to stop; a running one does within a step.

        Raises:
            ConflictError: it had ended.
        """
        self.info = self._client._run(operations.cancel(self.id, self._client._policy))
        return self.info

    def delete(self) -> None:
        """Have the server remove its pictures now: the job is expired.

        Raises:
            ConflictError: it is running; cancel it first.
        """
        self._client._run(operations.delete(self.id, self._client._policy))

    def __repr__(self) -> str:
        return f"<Job {self.id}{f' {self.info.state}' if self.info else ''}>"


class AsyncJob:
    """A job on the server. It goes on whatever happens to this program.

    Attributes:
        id: of the job; `client.job(id)` makes a handle again, in another program too.
        info: what was last heard of it; None for a handle that has not asked yet.
    """

    def __init__(self, client: AsyncClient, job_id: str, info: JobInfo | None = None) -> None:
        self._client, self.id, self.info = client, job_id, info

    async def refresh(self) -> JobInfo:
        """Ask how it is now."""
        self.info = await self._client._run(operations.get_job(self.id, self._client._policy))
        return self.info

    async def wait(self, timeout: float | None = None) -> JobInfo:
        """As `Job.wait`."""
        self.info = await self._client._run(calls.wait(self.id, self._client._policy, Deadline.after(timeout)))
        return self.info

    def events(self, after: int = 0, timeout: float | None = None) -> AsyncIterator[Event]:
        """As `Job.events`: `async for event in job.events()`."""
        return self._client._iterate(calls.events(self.id, self._client._policy, Deadline.after(timeout), after))

    async def result(self, timeout: float | None = None) -> AsyncRestoredImage:
        """As `Job.result`."""
        response = await self._client._run(operations.result(self.id, self._client._policy, timeout))
        return AsyncRestoredImage(response, self._client)

    async def uncertainty(self) -> UncertaintyMap:
        """As `Job.uncertainty`."""
        operation = operations.fetch(self.id, "uncertainty", "image/png", self._client._policy)
        return UncertaintyMap(await self._client._run(operation))

    async def report(self) -> Report:
        """As `Job.report`."""
        return await self._client._run(operations.report(self.id, self._client._policy))

    async def cancel(self) -> JobInfo:
        """As `Job.cancel`."""
        self.info = await self._client._run(operations.cancel(self.id, self._client._policy))
        return self.info

    async def delete(self) -> None:
        """As `Job.delete`."""
        await self._client._run(operations.delete(self.id, self._client._policy))

    def __repr__(self) -> str:
        return f"<AsyncJob {self.id}{f' {self.info.state}' if self.info else ''}>"
