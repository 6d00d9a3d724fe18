"""How much of a running job's work is done: a large picture may be a single call of its prior."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the column; servers of before leave it at nought."""
    column = sa.Column("fraction", sa.Float, nullable=False, server_default="0", comment="of all the work, 0 to 1")
    op.add_column("jobs", column)
