"""The client that awaits."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from types import EllipsisType, TracebackType
from typing import Any, Self, TypeVar, Unpack, cast

from pellucid_client import _folder as folders
from pellucid_client import _operations as operations
from pellucid_client import _policy as policies
from pellucid_client._drivers import AsyncDriver
from pellucid_client._effects import Operation
from pellucid_client._folder import FolderItem, FolderProgress, FolderResult
from pellucid_client._http import LIMITS, http
from pellucid_client._image import AsyncRestoredImage
from pellucid_client._job import AsyncJob
from pellucid_client._models import JobInfo, JobPage, JobState, ModelInfo, Upload
from pellucid_client._parameters import RestoreOptions, Task
from pellucid_client._policy import Policy
from pellucid_client._response import Response
from pellucid_client._settings import Server
from pellucid_client._sources import ImageSource
from pellucid_client._tasks import Tasks

T = TypeVar("T")


class AsyncClient(Tasks[Coroutine[Any, Any, AsyncRestoredImage]]):
    """`Client` for asyncio: the same methods, to be awaited, and the same behaviour.

        async with AsyncClient("http://localhost:8000") as client:
            image = await client.denoise("in.jpg", seed=7)
            image.save("out.jpg")

    A task that is cancelled while it waits for a picture cancels the job too.

    Args:
        base_url: of the server. Default: PELLUCID_SERVER, else http://localhost:8000.
        api_key: for servers that want one. Default: PELLUCID_API_KEY.
        timeout: seconds for a whole call, retries included; None for no end. Default: 600.
        max_retries: how often a request is sent again after a failure that may pass. Default: 2.
        headers: sent with every request.
        http_client: an `httpx2.AsyncClient` with settings of your own (proxies, certificates); it is yours to close.

    Raises:
        InvalidInputError: `base_url` is no server's address.
    """

    def __init__(
        self,
        base_url: str | None = None,
        *,
        api_key: str | None = None,
        timeout: float | None = policies.TIMEOUT,
        max_retries: int = policies.MAX_RETRIES,
        headers: Mapping[str, str] | None = None,
        http_client: http.AsyncClient | None = None,
    ) -> None:
        self._server = Server.given(base_url, api_key, headers)
        self._policy = Policy(timeout, max_retries)
        self._owned = http_client is None
        self._http = http_client or http.AsyncClient(limits=LIMITS)
        self._driver = AsyncDriver(self._server, self._http)

    @property
    def base_url(self) -> str:
        """Of the server."""
        return self._server.base_url

    def with_options(
        self,
        *,
        timeout: float | EllipsisType | None = ...,
        max_retries: int | None = None,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncClient:
        """As `Client.with_options`."""
        other = AsyncClient.__new__(AsyncClient)
        other._server = self._server.changed(api_key, headers)
        other._policy = self._policy.changed(timeout, max_retries)
        other._owned, other._http = self._owned, self._http
        other._driver = AsyncDriver(other._server, other._http)
        return other

    async def submit(self, image: ImageSource, task: Task = "auto", **options: Unpack[RestoreOptions]) -> AsyncJob:
        """As `Client.submit`."""
        policy, deadline = operations.start(self._policy, options)
        info = await self._run(operations.submit(image, task, options, policy, deadline))
        return AsyncJob(self, info.id, info)

    def job(self, job_id: str) -> AsyncJob:
        """A handle for a job that is known by its id; the server is not asked."""
        return AsyncJob(self, job_id)

    @property
    def jobs(self) -> AsyncJobs:
        """The jobs on the server."""
        return AsyncJobs(self)

    @property
    def models(self) -> AsyncModels:
        """What the server can restore with."""
        return AsyncModels(self)

    async def upload(self, image: ImageSource) -> Upload:
        """As `Client.upload`."""
        return await self._run(operations.upload(image, self._policy))

    async def restore_folder(
        self,
        source: str | os.PathLike[str],
        target: str | os.PathLike[str],
        task: Task = "auto",
        *,
        concurrency: int = folders.CONCURRENCY,
        pattern: str = "*",
        overwrite: bool = False,
        on_progress: Callable[[FolderProgress], object] | None = None,
        **options: Unpack[RestoreOptions],
    ) -> FolderResult:
        """As `Client.restore_folder`; `on_progress` is called on the event loop."""
        plans = await asyncio.to_thread(folders.plan, source, target, pattern, options.get("output_format"))
        given = folders.options_for(options)
        items: dict[int, FolderItem] = {}
        room = asyncio.Semaphore(max(1, concurrency))

        async def one(number: int, plan: folders.Plan) -> None:
            async with room:
                if plan.target.exists() and not overwrite:
                    item = folders.skipped(plan)
                else:
                    try:
                        image = await self.restore(
                            plan.source, task, **cast(Any, {**given, "output_format": plan.format})
                        )
                        item = await asyncio.to_thread(folders.written, plan, image)
                    except Exception as error:
                        item = folders.failed(plan, error)
            items[number] = item
            if on_progress is not None:
                on_progress(FolderProgress(len(items), len(plans), item))

        async with asyncio.TaskGroup() as group:
            for number, plan in enumerate(plans):
                group.create_task(one(number, plan))
        return FolderResult([items[number] for number in range(len(plans))])

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
    ) -> Response:
        """As `Client.request`."""
        return await self._run(operations.raw(method, path, params, headers, content, self._policy))

    async def close(self) -> None:
        """Close the connections, unless the HTTP client was given."""
        if self._owned:
            await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _perform(self, image: ImageSource, task: Task, options: RestoreOptions) -> AsyncRestoredImage:
        return AsyncRestoredImage(await self._run(operations.restore(image, task, options, self._policy)), self)

    async def _run(self, operation: Operation[T]) -> T:
        return await self._driver.run(operation)

    def _iterate(self, operation: Operation[Any]) -> AsyncIterator[Any]:
        return self._driver.iterate(operation)


class AsyncJobs:
    """The jobs on the server: `client.jobs`."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    def list(self, state: JobState | None = None, page_size: int = 50) -> AsyncIterator[JobInfo]:
        """As `Jobs.list`: `async for job in client.jobs.list()`."""
        return self._client._iterate(operations.each_job(state, page_size, self._client._policy))

    async def page(self, state: JobState | None = None, limit: int = 50, cursor: str | None = None) -> JobPage:
        """As `Jobs.page`."""
        return await self._client._run(operations.list_jobs(state, limit, cursor, self._client._policy))

    async def get(self, job_id: str) -> AsyncJob:
        """As `Jobs.get`."""
        job = AsyncJob(self._client, job_id)
        await job.refresh()
        return job


class AsyncModels:
    """What the server can restore with: `client.models`."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def list(self) -> Sequence[ModelInfo]:
        """All of them."""
        return await self._client._run(operations.list_models(self._client._policy))

    async def get(self, name: str) -> ModelInfo:
        """As `Models.get`."""
        return await self._client._run(operations.get_model(name, self._client._policy))
