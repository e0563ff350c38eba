"""By when a job is wanted, and how long it was said to take when it was asked for."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0009"
down_revision: str | None = "0008"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("deadline_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("jobs", sa.Column("estimated_s", sa.Float(), nullable=True))


def downgrade() -> None:
    op.drop_column("jobs", "estimated_s")
    op.drop_column("jobs", "deadline_at")
