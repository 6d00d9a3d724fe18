"""The outbox: deliveries that were written together with their job's end, and wait to be made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import delete, select, update

from service.jobs.database import Database
from service.jobs.tables import webhooks


@dataclass(frozen=True)
class Delivery:
    """One message on its way.

    Attributes:
        id: the webhook-id header, the same for each attempt.
        job_id: whose end it tells.
        url: where to.
        body: JSON, the same for each attempt.
        attempts: made, this one included.
    """

    id: str
    job_id: str
    url: str
    body: str
    attempts: int


class Outbox:
    """Pending deliveries in the jobs' database. Methods block; several servers may share it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take(self, limit: int, hold_seconds: float) -> Sequence[Delivery]:
        """Deliveries that are due, for the caller to attempt now; if it dies they are due again after the hold."""
        with self._database.read() as connection:
            due = (webhooks.c.state == "pending") & (webhooks.c.due_at <= self._database.now(connection))
            if connection.execute(select(webhooks.c.id).where(due).limit(1)).first() is None:
                return []
        with self._database.write(durable=False) as connection:
            now = self._database.now(connection)
            chosen = (
                select(webhooks.c.id)
                .where(due)
                .order_by(webhooks.c.due_at)
                .limit(limit)
                .with_for_update(skip_locked=True)
                .cte("chosen")
            )
            statement = (
                update(webhooks)
                .where(webhooks.c.id.in_(select(chosen.c.id)))
                .values(due_at=now + timedelta(seconds=hold_seconds), attempts=webhooks.c.attempts + 1)
                .returning(webhooks)
            )
            rows = connection.execute(statement).all()
        return [Delivery(row.id, row.job_id, row.url, row.body, row.attempts) for row in rows]

    def delivered(self, delivery: Delivery, answer: str, seconds: float) -> None:
        """It was taken."""
        self._note(delivery, state="delivered", answer=answer, seconds=seconds)

    def failed(self, delivery: Delivery, answer: str, seconds: float, again_seconds: float | None) -> None:
        """It was not; try again after so long, or never (None)."""
        if again_seconds is None:
            self._note(delivery, state="failed", answer=answer, seconds=seconds)
            return
        with self._database.write() as connection:
            due = self._database.now(connection) + timedelta(seconds=again_seconds)
            mine = (webhooks.c.id == delivery.id) & (webhooks.c.attempts == delivery.attempts)
            connection.execute(update(webhooks).where(mine).values(due_at=due, answer=answer, seconds=seconds))

    def prune(self, seconds: float) -> None:
        """Forget deliveries that were made, or given up, and are older than so many seconds."""
        with self._database.write(durable=False) as connection:
            old = self._database.now(connection) - timedelta(seconds=seconds)
            connection.execute(delete(webhooks).where(webhooks.c.state != "pending", webhooks.c.created_at < old))

    def _note(self, delivery: Delivery, **values: object) -> None:
        with self._database.write() as connection:
            connection.execute(update(webhooks).where(webhooks.c.id == delivery.id).values(**values))
