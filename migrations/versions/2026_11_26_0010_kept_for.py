"""A generation may be kept, for a moment, for the worker that has its version at hand."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0010"
down_revision: str | None = "0009"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("kept_for", sa.String(120), nullable=True))


def downgrade() -> None:
    op.drop_column("jobs", "kept_for")
