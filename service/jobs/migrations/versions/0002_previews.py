"""The latest preview of each running job, so that clients of another server see it too."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the table of previews."""
    op.create_table(
        "previews",
        sa.Column("job_id", sa.String(36), nullable=False),
        sa.Column("id", sa.Integer, nullable=False, comment="of the event"),
        sa.Column("data", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("job_id", name="pk_previews"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_previews_job_id_jobs", ondelete="CASCADE"),
    )
