"""What has to be tidied up: jobs of dead servers, results past their time, blobs that nobody needs."""

from __future__ import annotations

import logging
import time

from service.blobs import BlobStore
from service.jobs.store import JobStore
from service.presence import Presence
from service.settings import Settings
from service.threads import Threads

#: A job whose server, or whose worker's machine, was lost so often while it ran is failed. Restorations run in
#: processes of their own, so such a death is seldom a job's fault, and a few restarts may hit the same long job; but
#: one that takes whole machines down must not do so for ever.
MOST_LOST = 5
#: Seconds after which a blob that belongs to nothing was left by somebody who died before naming it.
ORPHAN_SECONDS = 3600.0

log = logging.getLogger(__name__)


class Housekeeping:
    """Tidies one store and its blobs; several servers may do so at once."""

    def __init__(
        self,
        store: JobStore,
        blobs: BlobStore,
        presence: Presence,
        database: Threads,
        files: Threads,
        settings: Settings,
    ) -> None:
        self._store, self._blobs, self._presence = store, blobs, presence
        self._database, self._files = database, files
        self._retention_seconds = settings.retention_seconds

    async def recover(self) -> None:
        """Queue again what dead servers held: at once where this machine knows, else when their leases run out."""
        for worker in await self._database(self._store.workers):
            if await self._files(self._presence.is_dead, worker):
                log.warning("server %s is dead; its jobs are taken over", worker)
                await self._database(self._store.abandon, worker)
                await self._files(self._presence.forget, worker)
        for job in await self._database(self._store.recover, MOST_LOST, self._retention_seconds):
            log.error("job %s failed: %s", job.id, job.error and job.error.message)

    async def expire(self) -> None:
        """Expire results past their time and delete what is garbage."""
        while await self._database(self._store.expire):
            pass
        while references := await self._database(self._store.garbage):
            for reference in references:
                await self._files(self._blobs.delete, reference)
            await self._database(self._store.forget, references)

    async def sweep(self) -> None:
        """Delete blobs that belong to nothing: their writers died before they could name them, or were too late."""
        old = await self._files(self._blobs.older_than, time.time() - ORPHAN_SECONDS)
        if not old:
            return
        known = await self._database(self._store.references)
        for reference in old:
            if reference not in known:
                await self._files(self._blobs.delete, reference)
