"""Whether a waiting picture is blurred, which was looked at anew each time that it was shown.

Of those that wait while this runs nobody says so any more; they are forgotten within a day.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0013"
down_revision: str | None = "0012"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("uploads", sa.Column("is_blurred", sa.Boolean(), server_default=sa.false(), nullable=False))


def downgrade() -> None:
    op.drop_column("uploads", "is_blurred")
