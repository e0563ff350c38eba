"""Regions of pictures. Requests from before have none, and neither have those of code that does not know them yet."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    regions = sa.Column(
        "regions", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'::jsonb"), nullable=False
    )
    op.add_column("generations", regions)


def downgrade() -> None:
    op.drop_column("generations", "regions")
