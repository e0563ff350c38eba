"""Indexes for two foreign keys, or deleting a history looks at every history once for each of its versions."""

from collections.abc import Sequence

from alembic import op

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_index(op.f("ix_histories_head_id"), "histories", ["head_id"], unique=False)
    op.create_index(op.f("ix_head_moves_user_id"), "head_moves", ["user_id"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_head_moves_user_id"), table_name="head_moves")
    op.drop_index(op.f("ix_histories_head_id"), table_name="histories")
