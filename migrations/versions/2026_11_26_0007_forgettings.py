"""Concepts that a history goes on without, and the proofs that they were erased. Jobs may be forgettings."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.drop_constraint(op.f("ck_jobs_kind_known"), "jobs")
    op.create_check_constraint(op.f("ck_jobs_kind_known"), "jobs", "kind IN ('learn', 'generate', 'forget')")
    op.create_table(
        "forgettings",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("history_id", sa.Uuid(), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("concept_id", sa.Uuid(), nullable=True),
        sa.Column("name", sa.String(length=60), nullable=False),
        sa.Column("class_noun", sa.String(length=60), nullable=False),
        sa.Column("mode", sa.String(length=10), nullable=False),
        sa.Column("shared", sa.String(length=10), nullable=False),
        sa.Column("erase", sa.Boolean(), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("versions", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("doomed", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("proof", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("mode IN ('fast', 'exact')", name=op.f("ck_forgettings_mode_known")),
        sa.ForeignKeyConstraint(
            ["history_id"], ["histories.id"], name=op.f("fk_forgettings_history_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_forgettings_job_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["concept_id"], ["concepts.id"], name=op.f("fk_forgettings_concept_id"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_forgettings")),
        sa.UniqueConstraint("job_id", name=op.f("uq_forgettings_job_id")),
    )
    op.create_index(
        op.f("ix_forgettings_history_id_created_at"), "forgettings", ["history_id", "created_at"], unique=False
    )
    op.create_index(op.f("ix_forgettings_concept_id"), "forgettings", ["concept_id"], unique=False)


def downgrade() -> None:
    op.drop_table("forgettings")
    op.execute("DELETE FROM jobs WHERE kind = 'forget'")
    op.drop_constraint(op.f("ck_jobs_kind_known"), "jobs")
    op.create_check_constraint(op.f("ck_jobs_kind_known"), "jobs", "kind IN ('learn', 'generate')")
