"""What is kept and for how long: results, blobs, uploads."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import delete, insert, select

from service.jobs.model import JobState, Upload
from service.jobs.rows import upload_from_row
from service.jobs.sql.base import Part
from service.jobs.tables import garbage, jobs, uploads
from service.jobs.transitions import CANCEL_QUEUED, ONE, discard, empty, end

#: How long the rows of expired jobs are kept, so that their ids are answered 410 and not 404.
HISTORY_SECONDS = 30 * 86400.0


class Keeping(Part):
    """See `service.jobs.store.JobStore`."""

    def purge(self, job_id: str) -> Sequence[str] | None:
        one = {"whose": job_id}
        with self._database.write() as connection:
            now = self._database.now(connection)
            end(connection, CANCEL_QUEUED, one, JobState.CANCELED, now, 0.0)
            ended = select(jobs).where(ONE, jobs.c.state != JobState.RUNNING).with_for_update()
            row = connection.execute(ended, one).one_or_none()
            return None if row is None else empty(connection, [row])

    def expire(self, limit: int = 100) -> Sequence[str]:
        with self._database.write() as connection:
            now = self._database.now(connection)
            ended = [JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELED]
            query = select(jobs).where(jobs.c.state.in_(ended), jobs.c.expires_at <= now).limit(limit)
            references = empty(connection, connection.execute(query.with_for_update(skip_locked=True)).all())
            old = delete(uploads).where(uploads.c.expires_at <= now).returning(uploads.c.reference)
            dropped = [*connection.scalars(old)]
            discard(connection, dropped)
            forgotten = now - timedelta(seconds=HISTORY_SECONDS)
            connection.execute(delete(jobs).where(jobs.c.state == JobState.EXPIRED, jobs.c.expires_at < forgotten))
            return [*references, *dropped]

    def garbage(self, limit: int = 100) -> Sequence[str]:
        with self._database.read() as connection:
            return [*connection.scalars(select(garbage.c.reference).limit(limit))]

    def references(self) -> set[str]:
        live = select(jobs.c.spec, jobs.c.outcome).where(jobs.c.state != JobState.EXPIRED)
        with self._database.read() as connection:
            found = set(connection.scalars(select(uploads.c.reference)))
            for row in connection.execute(live):
                found.update(row.spec["inputs"].values(), (row.outcome or {}).get("outputs", {}).values())
            return found

    def forget(self, references: Sequence[str]) -> None:
        with self._database.write(durable=False) as connection:
            connection.execute(delete(garbage).where(garbage.c.reference.in_(references)))

    def add_upload(self, upload: Upload) -> None:
        with self._database.write() as connection:
            connection.execute(insert(uploads).values(vars(upload)))

    def upload(self, upload_id: str, owner: str) -> Upload | None:
        with self._database.read() as connection:
            mine = (uploads.c.id == upload_id) & (uploads.c.owner == owner)
            fresh = uploads.c.expires_at > self._database.now(connection)
            row = connection.execute(select(uploads).where(mine, fresh)).one_or_none()
            return None if row is None else upload_from_row(row)
