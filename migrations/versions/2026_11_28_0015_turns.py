"""When a caption was last rung for, beside since when it waits; and indexes for what every start and look asks."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0015"
down_revision: str | None = "0014"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    rung_at = sa.Column("rung_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False)
    op.add_column("upload_captions", rung_at)
    op.create_index(op.f("ix_versions_created_at"), "versions", ["created_at"], unique=False)
    op.create_index(op.f("ix_jobs_owner_id_kind_started_at"), "jobs", ["owner_id", "kind", "started_at"], unique=False)
    op.create_index(
        "ix_jobs_estimated",
        "jobs",
        ["finished_at"],
        unique=False,
        postgresql_where=sa.text("estimated_s IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_jobs_estimated", table_name="jobs")
    op.drop_index(op.f("ix_jobs_owner_id_kind_started_at"), table_name="jobs")
    op.drop_index(op.f("ix_versions_created_at"), table_name="versions")
    op.drop_column("upload_captions", "rung_at")
