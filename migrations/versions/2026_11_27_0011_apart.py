"""Whether the concepts of a picture keep out of each other's places. In those from before they did not."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0011"
down_revision: str | None = "0010"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("generations", sa.Column("apart", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.alter_column("generations", "apart", server_default=sa.true())


def downgrade() -> None:
    op.drop_column("generations", "apart")
