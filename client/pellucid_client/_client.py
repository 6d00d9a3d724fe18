"""The client that blocks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from types import EllipsisType, TracebackType
from typing import Any, Self, TypeVar, Unpack, cast

from pellucid_client import _folder as folders
from pellucid_client import _operations as operations
from pellucid_client import _policy as policies
from pellucid_client._drivers import Driver
from pellucid_client._effects import Operation
from pellucid_client._folder import FolderItem, FolderProgress, FolderResult
from pellucid_client._http import LIMITS, http
from pellucid_client._image import RestoredImage
from pellucid_client._job import Job
from pellucid_client._models import JobInfo, JobPage, JobState, ModelInfo, Upload
from pellucid_client._parameters import RestoreOptions, Task
from pellucid_client._policy import Policy
from pellucid_client._response import Response
from pellucid_client._settings import Server
from pellucid_client._sources import ImageSource
from pellucid_client._tasks import Tasks

T = TypeVar("T")


class Client(Tasks[RestoredImage]):
    """Restores pictures on a Pellucid server. Safe to share between threads; close it, or use it in a `with` block.

        with Client("http://localhost:8000") as client:
            client.denoise("in.jpg", seed=7).save("out.jpg")

    Args:
        base_url: of the server. Default: PELLUCID_SERVER, else http://localhost:8000.
        api_key: for servers that want one. Default: PELLUCID_API_KEY.
        timeout: seconds for a whole call, retries included; None for no end. Default: 600.
        max_retries: how often a request is sent again after a failure that may pass. Default: 2.
        headers: sent with every request.
        http_client: an `httpx2.Client` with settings of your own (proxies, certificates); it is yours to close.

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
        http_client: http.Client | None = None,
    ) -> None:
        self._server = Server.given(base_url, api_key, headers)
        self._policy = Policy(timeout, max_retries)
        self._owned = http_client is None
        self._http = http_client or http.Client(limits=LIMITS)
        self._driver = Driver(self._server, self._http)

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
    ) -> Client:
        """The same client with other settings; it shares the connections, and closing either closes them.

        Args:
            timeout: as for the client; left out, it stays.
            max_retries: likewise.
            api_key: likewise.
            headers: added to the client's.
        """
        other = Client.__new__(Client)
        other._server = self._server.changed(api_key, headers)
        other._policy = self._policy.changed(timeout, max_retries)
        other._owned, other._http = self._owned, self._http
        other._driver = Driver(other._server, other._http)
        return other

    def submit(self, image: ImageSource, task: Task = "auto", **options: Unpack[RestoreOptions]) -> Job:
        """Queue a restoration and return at once. The job goes on whatever happens to this program.

        Args:
            image: the picture.
            task: what to do.
            **options: see `RestoreOptions`; `on_event` is for calls that wait.
        """
        policy, deadline = operations.start(self._policy, options)
        info = self._run(operations.submit(image, task, options, policy, deadline))
        return Job(self, info.id, info)

    def job(self, job_id: str) -> Job:
        """A handle for a job that is known by its id; the server is not asked."""
        return Job(self, job_id)

    @property
    def jobs(self) -> Jobs:
        """The jobs on the server."""
        return Jobs(self)

    @property
    def models(self) -> Models:
        """What the server can restore with."""
        return Models(self)

    def upload(self, image: ImageSource) -> Upload:
        """Send a picture once, to restore it several times: `client.denoise(upload, ...)`."""
        return self._run(operations.upload(image, self._policy))

    def restore_folder(
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
        """Restore every picture in a folder and those below it, several at a time.

        A picture that fails does not stop the others. Targets that exist are skipped: a run that was broken off goes on
        where it was when it is started again.

        Args:
            source: the folder.
            target: the folder for the restored ones, made where it is missing; each keeps its place below it.
            task: what to do.
            concurrency: pictures at a time.
            pattern: of file names, such as "*.jpg".
            overwrite: restore again what is there already.
            on_progress: called after each picture, from this thread.
            **options: see `RestoreOptions`; `priority` is "batch" unless it is given.

        Raises:
            InvalidInputError: no folder, no pictures in it, or two of them would become one file.
        """
        plans = folders.plan(source, target, pattern, options.get("output_format"))
        given = folders.options_for(options)

        def one(plan: folders.Plan) -> FolderItem:
            if plan.target.exists() and not overwrite:
                return folders.skipped(plan)
            try:
                image = self.restore(plan.source, task, **cast(Any, {**given, "output_format": plan.format}))
                return folders.written(plan, image)
            except Exception as error:
                return folders.failed(plan, error)

        items: dict[int, FolderItem] = {}
        with ThreadPoolExecutor(max(1, concurrency), thread_name_prefix="pellucid") as pool:
            futures = {pool.submit(one, plan): number for number, plan in enumerate(plans)}
            try:
                for future in as_completed(futures):
                    items[futures[future]] = future.result()
                    if on_progress is not None:
                        on_progress(FolderProgress(len(items), len(plans), items[futures[future]]))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return FolderResult([items[number] for number in range(len(plans))])

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
    ) -> Response:
        """Anything else the server can do, under the same retries, deadlines and errors.

        Args:
            method: GET, POST, DELETE.
            path: from the server's root, such as "/readyz".
            params: of the query.
            headers: an Idempotency-Key among them makes a POST safe to repeat; without one it is not repeated.
            content: the body.
        """
        return self._run(operations.raw(method, path, params, headers, content, self._policy))

    def close(self) -> None:
        """Close the connections, unless the HTTP client was given."""
        if self._owned:
            self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _perform(self, image: ImageSource, task: Task, options: RestoreOptions) -> RestoredImage:
        return RestoredImage(self._run(operations.restore(image, task, options, self._policy)), self)

    def _run(self, operation: Operation[T]) -> T:
        return self._driver.run(operation)

    def _iterate(self, operation: Operation[Any]) -> Iterator[Any]:
        return self._driver.iterate(operation)


class Jobs:
    """The jobs on the server: `client.jobs`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def list(self, state: JobState | None = None, page_size: int = 50) -> Iterator[JobInfo]:
        """Every job, newest first, asked for page by page as they are taken.

        Args:
            state: only those.
            page_size: how many are asked for at a time, 1 to 100.
        """
        return self._client._iterate(operations.each_job(state, page_size, self._client._policy))

    def page(self, state: JobState | None = None, limit: int = 50, cursor: str | None = None) -> JobPage:
        """Some jobs, newest first.

        Args:
            state: only those.
            limit: how many, 1 to 100.
            cursor: `next_cursor` of the page before.
        """
        return self._client._run(operations.list_jobs(state, limit, cursor, self._client._policy))

    def get(self, job_id: str) -> Job:
        """A job as it is now.

        Raises:
            NotFoundError: there is none.
        """
        job = Job(self._client, job_id)
        job.refresh()
        return job


class Models:
    """What the server can restore with: `client.models`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def list(self) -> Sequence[ModelInfo]:
        """All of them."""
        return self._client._run(operations.list_models(self._client._policy))

    def get(self, name: str) -> ModelInfo:
        """One.

        Raises:
            NotFoundError: there is none of that name.
        """
        return self._client._run(operations.get_model(name, self._client._policy))
