"""Captions offered for pictures that wait on the teaching page. Each goes with its picture, or with its base."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "upload_captions",
        sa.Column("upload_id", sa.Uuid(), nullable=False),
        sa.Column("base_id", sa.String(length=64), nullable=False),
        sa.Column("caption", sa.String(length=500), nullable=True),
        sa.Column("asked_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["upload_id"], ["uploads.id"], name=op.f("fk_upload_captions_upload_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["base_id"], ["base_models.id"], name=op.f("fk_upload_captions_base_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("upload_id", "base_id", name=op.f("pk_upload_captions")),
    )
    op.create_index(op.f("ix_upload_captions_base_id"), "upload_captions", ["base_id"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_upload_captions_base_id"), table_name="upload_captions")
    op.drop_table("upload_captions")
