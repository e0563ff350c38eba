"""What does damage is held back from head. Histories from before guard theirs; no version of theirs was held back."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("histories", sa.Column("guards_head", sa.Boolean(), server_default=sa.text("true"), nullable=False))
    held_back = sa.Column(
        "held_back", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'::jsonb"), nullable=False
    )
    op.add_column("versions", held_back)


def downgrade() -> None:
    op.drop_column("versions", "held_back")
    op.drop_column("histories", "guards_head")
