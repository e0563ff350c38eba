"""The number of an erased version is not given again. Where some were erased already, what is left of them counts."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0008"
down_revision: str | None = "0007"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("histories", sa.Column("highest_erased", sa.Integer(), server_default=sa.text("0"), nullable=False))
    op.execute(
        """
        UPDATE histories SET highest_erased = erased.number
        FROM (
            SELECT history_id, max(number::int) AS number
            FROM forgettings, jsonb_array_elements_text(proof -> 'versions') AS number
            GROUP BY history_id
        ) AS erased
        WHERE erased.history_id = histories.id
        """
    )


def downgrade() -> None:
    op.drop_column("histories", "highest_erased")
