"""Jobs, their events, uploads, garbage and the webhooks' outbox."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the first tables."""
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("priority", sa.SmallInteger, nullable=False, comment="0 interactive, 1 batch: lower goes first"),
        sa.Column("idempotency_key", sa.String(255), comment="empty once the key was given back"),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("spec", sa.JSON, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("crashes", sa.Integer, nullable=False),
        sa.Column("fence", sa.Integer, nullable=False),
        sa.Column("worker", sa.String(128)),
        sa.Column("lease_until", moment),
        sa.Column("cancel_requested", sa.Boolean, nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("started_at", moment),
        sa.Column("finished_at", moment),
        sa.Column("expires_at", moment),
        sa.Column("step", sa.Integer, nullable=False),
        sa.Column("steps", sa.Integer, nullable=False),
        sa.Column("device", sa.String(32), nullable=False),
        sa.Column("last_event", sa.Integer, nullable=False),
        sa.Column("outcome", sa.JSON, comment="of a succeeded job; see service.jobs.store.Outcome"),
        sa.Column("error", sa.JSON, comment="of a failed job"),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
        sa.UniqueConstraint("owner", "idempotency_key", name="uq_jobs_owner_idempotency_key"),
    )
    op.create_index("ix_jobs_state_jobs_priority_jobs_id", "jobs", ["state", "priority", "id"])
    op.create_index("ix_jobs_state_jobs_lease_until", "jobs", ["state", "lease_until"])
    op.create_index("ix_jobs_state_jobs_expires_at", "jobs", ["state", "expires_at"])
    op.create_index("ix_jobs_owner_jobs_state", "jobs", ["owner", "state"])
    op.create_index("ix_jobs_finished_at", "jobs", ["finished_at"])
    op.create_table(
        "events",
        sa.Column("job_id", sa.String(36), nullable=False),
        sa.Column("id", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("type", sa.String(16), nullable=False),
        sa.Column("data", sa.JSON, nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("job_id", "id", name="pk_events"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_events_job_id_jobs", ondelete="CASCADE"),
    )
    op.create_table(
        "uploads",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("reference", sa.String(128), nullable=False),
        sa.Column("format", sa.String(16), nullable=False),
        sa.Column("width", sa.Integer, nullable=False),
        sa.Column("height", sa.Integer, nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("expires_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_uploads"),
    )
    op.create_index("ix_uploads_expires_at", "uploads", ["expires_at"])
    op.create_table(
        "garbage",
        sa.Column("reference", sa.String(128), nullable=False),
        sa.PrimaryKeyConstraint("reference", name="pk_garbage"),
    )
    op.create_table(
        "webhooks",
        sa.Column("id", sa.String(36), nullable=False, comment="the webhook-id header, the same for each attempt"),
        sa.Column("job_id", sa.String(36), nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False, comment="as it is signed and sent"),
        sa.Column("state", sa.String(16), nullable=False, comment="pending, delivered or failed"),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("due_at", moment, nullable=False, comment="next attempt; moved ahead by whoever is sending it"),
        sa.Column("seconds", sa.Float, comment="that the last attempt took"),
        sa.Column("answer", sa.Text, nullable=False, comment="status or error of the last attempt"),
        sa.PrimaryKeyConstraint("id", name="pk_webhooks"),
    )
    op.create_index("ix_webhooks_state_webhooks_due_at", "webhooks", ["state", "due_at"])
