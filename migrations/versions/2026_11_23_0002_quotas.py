"""How many bytes a user may keep. Before the code that asks for it; nobody's number changes."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("users", sa.Column("quota_bytes", sa.BigInteger(), nullable=True))
    op.create_check_constraint(op.f("ck_users_quota_not_negative"), "users", "quota_bytes >= 0")


def downgrade() -> None:
    op.drop_constraint(op.f("ck_users_quota_not_negative"), "users", type_="check")
    op.drop_column("users", "quota_bytes")
