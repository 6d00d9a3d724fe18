"""The tables behind the jobs, for SQLite and PostgreSQL alike.

Queries go by columns; what is only carried along lies in one JSON column, so that a new field of `NewJob` or `Outcome`
needs no migration. Every other change of a table needs a revision in `service.jobs.migrations`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.engine import Dialect


class Moment(TypeDecorator[datetime]):
    """An aware UTC time: timestamptz on PostgreSQL, text that sorts by time on SQLite, which knows no zones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None or dialect.name != "sqlite":
            return value
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        moment: datetime = value
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


Identifier = String(36)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_N_label)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", Identifier, primary_key=True),
    Column("owner", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("priority", SmallInteger, nullable=False, comment="0 interactive, 1 batch: lower goes first"),
    Column("idempotency_key", String(255), comment="empty once the key was given back"),
    Column("fingerprint", String(64), nullable=False),
    Column("spec", JSON, nullable=False),
    Column("attempt", Integer, nullable=False, default=0),
    Column("crashes", Integer, nullable=False, default=0),
    Column("fence", Integer, nullable=False, default=0),
    Column("worker", String(128)),
    Column("lease_until", Moment),
    Column("cancel_requested", Boolean, nullable=False, default=False),
    Column("created_at", Moment, nullable=False),
    Column("started_at", Moment),
    Column("finished_at", Moment),
    Column("expires_at", Moment),
    Column("step", Integer, nullable=False, default=0),
    Column("steps", Integer, nullable=False, default=0),
    Column("fraction", Float, nullable=False, server_default="0", comment="of all the work, 0 to 1"),
    Column("device", String(32), nullable=False, default=""),
    Column("last_event", Integer, nullable=False, default=0),
    Column("outcome", JSON, comment="of a succeeded job; see service.jobs.store.Outcome"),
    Column("error", JSON, comment="of a failed job"),
    UniqueConstraint("owner", "idempotency_key"),
    Index(None, "state", "priority", "id"),
    Index(None, "state", "lease_until"),
    Index(None, "state", "expires_at"),
    Index(None, "owner", "state"),
    Index(None, "finished_at"),
)

events = Table(
    "events",
    metadata,
    Column("job_id", Identifier, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("id", Integer, primary_key=True),
    Column("type", String(16), nullable=False),
    Column("data", JSON, nullable=False),
    Column("created_at", Moment, nullable=False),
)

#: The latest preview of each running job: shown to whoever watches, wherever they are connected, and then forgotten.
previews = Table(
    "previews",
    metadata,
    Column("job_id", Identifier, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("id", Integer, nullable=False, comment="of the event"),
    Column("data", JSON, nullable=False),
)

uploads = Table(
    "uploads",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("owner", String(64), nullable=False),
    Column("reference", String(128), nullable=False),
    Column("format", String(16), nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("size", Integer, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False),
    Index(None, "expires_at"),
)

#: Blobs that nobody needs any more; the row goes once the blob is gone, so that a kill in between leaks nothing.
garbage = Table("garbage", metadata, Column("reference", String(128), primary_key=True))

#: The webhooks' outbox: written with the job's end in one transaction.
webhooks = Table(
    "webhooks",
    metadata,
    Column("id", Identifier, primary_key=True, comment="the webhook-id header, the same for each attempt"),
    Column("job_id", Identifier, nullable=False),
    Column("url", Text, nullable=False),
    Column("body", Text, nullable=False, comment="as it is signed and sent"),
    Column("state", String(16), nullable=False, comment="pending, delivered or failed"),
    Column("attempts", Integer, nullable=False, default=0),
    Column("created_at", Moment, nullable=False),
    Column("due_at", Moment, nullable=False, comment="next attempt; moved ahead by whoever is sending it"),
    Column("seconds", Float, comment="that the last attempt took"),
    Column("answer", Text, nullable=False, default="", comment="status or error of the last attempt"),
    Index(None, "state", "due_at"),
)

PRIORITIES = {"interactive": 0, "batch": 1}
